// Package authtest is an STS for tests: it really verifies Signature Version 4, from
// the secrets that it was configured with, over the bytes and headers that it
// received, and it counts its calls. It also issues temporary credentials as STS
// and the portal of IAM Identity Center do, so that whole credential chains can be
// tested, and misbehaves when it is told to.
//
// It promises that it names an identity only for a signature that verifies, that
// the verifier shares no code with any signer (it passes the published vectors of
// AWS, see testdata), and that its answers have the form of those of AWS.
//
// It must not import the packages that it judges, nor a signer; its tests do. It is
// no part of a running system.
package authtest
