package install

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"cortex.dev/cortex/internal/auth/policy"
	"cortex.dev/cortex/internal/fault"
)

// checkValues refuses values of the right type that the operator could not start with.
func checkValues(values map[string]any) error {
	w := &work{cfg: Config{Values: values}}
	var wrong []error
	if text := w.text("", "policy"); text != "" {
		if _, err := policy.Check("policy", []byte(text)); err != nil {
			wrong = append(wrong, err)
		}
	}
	if text := w.text("", "operator", "authorities"); text != "" && !x509.NewCertPool().AppendCertsFromPEM([]byte(text)) {
		wrong = append(wrong, errors.New("operator.authorities: there is no certificate in PEM"))
	}
	if len(wrong) == 0 {
		return nil
	}
	return fault.New(fault.Invalid, "install.values", "the operator could not start with these values:\n  %w", errors.Join(wrong...)).
		WithHint("`cortex policy validate FILE` says the same of a policy")
}

// certificate says what is wrong with the certificate that users are to be shown, or "".
func (w *work) certificate(ctx context.Context) (string, error) {
	name := w.text("", "operator", "tls", "secretName")
	if name == "" {
		return "", nil
	}
	s, err := w.clients.CoreV1().Secrets(w.cfg.Namespace).Get(ctx, name, metav1.GetOptions{})
	switch {
	case apierrors.IsNotFound(err):
		return fmt.Sprintf("secret %s in namespace %s does not exist", name, w.cfg.Namespace), nil
	case apierrors.IsForbidden(err):
		return "", nil // what may not be looked at may be right
	case err != nil:
		return "", asFault("reading secret "+name, err)
	}
	return judgeCertificate(s), nil
}

// judgeCertificate says what is wrong with a secret of type kubernetes.io/tls, or "".
// The certificate of a time that is over is the operator's to warn of, not to refuse.
func judgeCertificate(s *corev1.Secret) string {
	about := fmt.Sprintf("secret %s in namespace %s: ", s.Name, s.Namespace)
	for _, key := range []string{corev1.TLSCertKey, corev1.TLSPrivateKeyKey} {
		if len(s.Data[key]) == 0 {
			return about + "there is no " + key
		}
	}
	if _, err := tls.X509KeyPair(s.Data[corev1.TLSCertKey], s.Data[corev1.TLSPrivateKeyKey]); err != nil {
		return about + err.Error()
	}
	return ""
}
