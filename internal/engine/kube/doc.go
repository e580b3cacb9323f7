// Package kube runs replicas on Kubernetes: a Deployment for each workload, by
// server-side apply, and statuses from watches of Deployments and Pods.
//
// It promises what the port promises, and that what a pod looks like is a pure
// function of the revision and the installation (deploymentOf), as is what is said
// of its replicas (statusOf). Replicas live on when the engine ends: Kubernetes
// runs them, the engine only says which.
//
// It must not know how desired state is kept, nor send anything to a replica.
package kube
