package kube

import (
	"context"
	"encoding/base32"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"sync"

	core "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"cortex.dev/cortex/internal/fault"
	"cortex.dev/cortex/internal/store"
)

// What replicas share: a claim is a Lease, a value a Secret.
const (
	prefixClaim = "cortex-claim"
	prefixValue = "cortex-value"

	labelShared = "cortex.dev/shared" // claim or value
	claimLabels = labelShared + "=claim"

	annotationKey      = "cortex.dev/key"      // as it was before it became a name
	annotationReplaces = "cortex.dev/replaces" // the version before; it makes every write a change
	dataValue          = "value"
)

// legalKey is what claims and values may be called.
var legalKey = sync.OnceValue(func() *regexp.Regexp {
	return regexp.MustCompile(fmt.Sprintf(`^[A-Za-z0-9_-]{1,%d}$`, store.MaxKey))
})

// plainKey is a key that may end a name of Kubernetes as it is.
var plainKey = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^[a-z0-9]([a-z0-9-]*[a-z0-9])?$`) })

var lowerBase32 = base32.NewEncoding("0123456789abcdefghijklmnopqrstuv").WithPadding(base32.NoPadding)

// nameOfKey is the name in Kubernetes of a key, which may have capitals and lines
// that Kubernetes does not allow. No two keys have the same.
func nameOfKey(prefix, key string) string {
	if plainKey().MatchString(key) {
		return prefix + "-" + key
	}
	return prefix + "." + lowerBase32.EncodeToString([]byte(key))
}

func (s *Store) sharedMeta(prefix, key, what string) metav1.ObjectMeta {
	return metav1.ObjectMeta{
		Name: nameOfKey(prefix, key), Namespace: s.cfg.SystemNamespace,
		Labels: map[string]string{labelShared: what}, Annotations: map[string]string{annotationKey: key},
	}
}

// Value returns a small named value.
func (s *Store) Value(ctx context.Context, name string) ([]byte, store.Version, error) {
	if !legalKey().MatchString(name) {
		return nil, 0, illegalKey(name)
	}
	ctx, done := s.begin(ctx)
	defer done()
	secret, err := s.core.Secrets(s.cfg.SystemNamespace).Get(ctx, nameOfKey(prefixValue, name), metav1.GetOptions{})
	if isMissing(err) {
		return nil, 0, nil
	}
	if err != nil {
		return nil, 0, s.failure(ctx, "reading "+name, err)
	}
	data, ok := secret.Data[dataValue]
	if !ok {
		return nil, 0, fault.New(fault.Unavailable, "store.corrupt", "the value %s cannot be read: the secret %s has no %q", name, secret.Name, dataValue).
			WithHint("delete the secret when nobody needs it")
	}
	if data == nil {
		data = []byte{}
	}
	version, err := number(secret.ResourceVersion)
	return data, store.Version(version), err
}

// SetValue writes a value if it is still at a version, which is the version of its
// Secret: it changes also when somebody touches that with kubectl.
func (s *Store) SetValue(ctx context.Context, name string, data []byte, at store.Version) (store.Version, error) {
	if !legalKey().MatchString(name) {
		return 0, illegalKey(name)
	}
	if len(data) > store.MaxValue {
		return 0, fault.New(fault.Invalid, "store.too_large", "%s takes %d bytes, more than the %d that one value may take", name, len(data), store.MaxValue)
	}
	ctx, done, err := s.beginWrite(ctx)
	if err != nil {
		return 0, err
	}
	defer done()
	secret := &core.Secret{ObjectMeta: s.sharedMeta(prefixValue, name, "value"), Data: map[string][]byte{dataValue: data}, Type: core.SecretTypeOpaque}
	secrets := s.core.Secrets(s.cfg.SystemNamespace)
	if at == 0 {
		secret, err = secrets.Create(ctx, secret, metav1.CreateOptions{FieldManager: fieldManager})
	} else {
		text := strconv.FormatUint(uint64(at), 10)
		secret.ResourceVersion, secret.Annotations[annotationReplaces] = text, text
		secret, err = secrets.Update(ctx, secret, metav1.UpdateOptions{FieldManager: fieldManager})
	}
	if apierrors.IsConflict(err) || apierrors.IsAlreadyExists(err) || isMissing(err) {
		return 0, conflict(name)
	}
	if err != nil {
		return 0, s.failure(ctx, "writing "+name, err)
	}
	version, err := number(secret.ResourceVersion)
	return store.Version(version), err
}

func illegalKey(key string) error {
	return fault.New(fault.Invalid, store.CodeIllegalName, "%q cannot be the name of what replicas share", strings.ToValidUTF8(key, "?"))
}
