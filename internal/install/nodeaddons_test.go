package install

import (
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/yaml"
)

// Every object is one that Kubernetes takes, and says what it was made for.
func TestNodeAddons(t *testing.T) {
	t.Parallel()
	n := NodeAddons{
		Cluster: "iris", Region: "us-west-2", Groups: map[string][]string{"100": {"^eks-cx-wd-b-"}, "20": {"^eks-cx-wd-a-", "^eks-cx-ws-a-"}},
		Devices: []string{"nvidia.com/gpu", "aws.amazon.com/neuron"}, Images: map[string]string{"nvidia_device_plugin": "example.com/nvidia:1"},
	}
	objects, err := n.objects("1.36")
	if err != nil {
		t.Fatal(err)
	}
	kinds := map[string]func() any{
		"ServiceAccount": func() any { return &corev1.ServiceAccount{} }, "ConfigMap": func() any { return &corev1.ConfigMap{} },
		"ClusterRole": func() any { return &rbacv1.ClusterRole{} }, "ClusterRoleBinding": func() any { return &rbacv1.ClusterRoleBinding{} },
		"Role": func() any { return &rbacv1.Role{} }, "RoleBinding": func() any { return &rbacv1.RoleBinding{} },
		"Deployment": func() any { return &appsv1.Deployment{} }, "DaemonSet": func() any { return &appsv1.DaemonSet{} },
	}
	images := map[string]string{}
	var args []string
	for _, u := range objects {
		into := kinds[u.GetKind()]
		if into == nil {
			t.Fatalf("%s is of a kind that this test does not know", describe(u))
		}
		typed := into()
		if err := runtime.DefaultUnstructuredConverter.FromUnstructuredWithValidation(u.Object, typed, true); err != nil {
			t.Errorf("%s: %v", describe(u), err)
		}
		switch o := typed.(type) {
		case *appsv1.Deployment:
			images[o.Name], args = o.Spec.Template.Spec.Containers[0].Image, o.Spec.Template.Spec.Containers[0].Command
		case *appsv1.DaemonSet:
			images[o.Name] = o.Spec.Template.Spec.Containers[0].Image
		case *corev1.ConfigMap:
			var priorities map[int][]string
			if err := yaml.UnmarshalStrict([]byte(o.Data["priorities"]), &priorities); err != nil || len(priorities[20]) != 2 || len(priorities[100]) != 1 {
				t.Errorf("priorities are %v (%v) in\n%s", priorities, err, o.Data["priorities"])
			}
		}
	}
	for name, want := range map[string]string{
		"cluster-autoscaler": "registry.k8s.io/autoscaling/cluster-autoscaler:v1.36.0", "nvidia-device-plugin": "example.com/nvidia:1", "neuron-device-plugin": neuronImage,
	} {
		if images[name] != want {
			t.Errorf("the image of %s is %s, want %s", name, images[name], want)
		}
	}
	if !strings.Contains(strings.Join(args, " "), "k8s.io/cluster-autoscaler/iris --expander=priority") {
		t.Errorf("the autoscaler is started as %q", args)
	}
	n.Devices = nil
	if fewer, err := n.objects("1.36"); err != nil || len(fewer) != 7 {
		t.Errorf("without devices there are %d objects, %v; want 7", len(fewer), err)
	}
	n.Devices = []string{"example.com/unknown"}
	if _, err := n.objects("1.36"); err == nil {
		t.Error("a device that nobody knows is no error")
	}
}
