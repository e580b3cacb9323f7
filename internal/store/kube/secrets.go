package kube

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	core "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"cortex.dev/cortex/internal/crd"
	"cortex.dev/cortex/internal/fault"
	"cortex.dev/cortex/internal/store"
	"cortex.dev/cortex/internal/workload"
)

// annotationSet says when a value was last set here; a Secret that somebody made with
// kubectl does not have it.
const annotationSet = "cortex.dev/set-at"

var _ store.Secrets = (*Store)(nil)

// SetSecret writes a Secret of that name. One that does not have the label is somebody
// else's, such as the password of a registry, and stays as it is.
func (s *Store) SetSecret(ctx context.Context, name string, value []byte, at time.Time) (created bool, err error) {
	ctx, done, err := s.beginWrite(ctx)
	if err != nil {
		return false, err
	}
	defer done()
	doing := "writing the secret " + name
	for range 10 {
		meta, err := s.secretMeta(ctx, name)
		switch {
		case isMissing(err):
			err, created = s.createSecret(ctx, name, value, at), true
		case err != nil:
		case meta.Labels[crd.SecretLabel] != "true":
			return false, s.foreignSecret(name)
		default:
			err, created = s.patchSecret(ctx, meta, value, at), false
		}
		if apierrors.IsConflict(err) || apierrors.IsAlreadyExists(err) || isMissing(err) {
			continue // somebody was faster
		}
		return created, s.failure(ctx, doing, err)
	}
	return false, busy(doing)
}

func (s *Store) createSecret(ctx context.Context, name string, value []byte, at time.Time) error {
	all, err := s.Secrets(ctx)
	if err != nil {
		return err
	}
	if len(all) >= workload.MaxSecrets {
		return fault.New(fault.Conflict, workload.CodeTooManySecrets, "there are %d secrets, the most that there may be", workload.MaxSecrets).
			WithHint("delete those that nobody uses: cortex secret list shows them")
	}
	_, err = s.core.Secrets(s.cfg.Namespace).Create(ctx, &core.Secret{
		ObjectMeta: metav1.ObjectMeta{
			Name: name, Namespace: s.cfg.Namespace, Labels: map[string]string{crd.SecretLabel: "true"},
			Annotations: map[string]string{annotationSet: at.UTC().Format(time.RFC3339)},
		},
		Data: map[string][]byte{crd.SecretKey: value}, Type: core.SecretTypeOpaque,
	}, metav1.CreateOptions{FieldManager: fieldManager})
	return err
}

// SecretValue returns the value of a secret that was set here, or fault.NotFound.
func (s *Store) SecretValue(ctx context.Context, name string) (string, error) {
	ctx, done := s.begin(ctx)
	defer done()
	found, err := s.core.Secrets(s.cfg.Namespace).Get(ctx, name, metav1.GetOptions{})
	switch {
	case isMissing(err), err == nil && found.Labels[crd.SecretLabel] != "true":
		return "", store.NoSecret(name)
	case err != nil:
		return "", s.failure(ctx, "reading the secret "+name, err)
	}
	return string(found.Data[crd.SecretKey]), nil
}

// patchSecret changes the value of a Secret that is still what it was, and leaves what
// else is in it.
func (s *Store) patchSecret(ctx context.Context, meta *metav1.ObjectMeta, value []byte, at time.Time) error {
	body, err := json.Marshal(map[string]any{
		"metadata": map[string]any{
			"resourceVersion": meta.ResourceVersion, "annotations": map[string]string{annotationSet: at.UTC().Format(time.RFC3339)},
		},
		"data": map[string][]byte{crd.SecretKey: value},
	})
	if err != nil {
		return err
	}
	_, err = s.core.Secrets(s.cfg.Namespace).Patch(ctx, meta.Name, types.MergePatchType, body, metav1.PatchOptions{FieldManager: fieldManager})
	return err
}

// Secrets returns what is known of every secret. Only metadata is asked for: no value ever
// comes here.
func (s *Store) Secrets(ctx context.Context) ([]store.Secret, error) {
	ctx, done := s.begin(ctx)
	defer done()
	text, err := s.core.RESTClient().Get().Namespace(s.cfg.Namespace).Resource("secrets").
		Param("labelSelector", crd.SecretLabel+"=true").
		SetHeader("Accept", "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io").Do(ctx).Raw()
	if err != nil {
		return nil, s.failure(ctx, "listing secrets", err)
	}
	var list metav1.PartialObjectMetadataList
	if err := json.Unmarshal(text, &list); err != nil {
		return nil, fmt.Errorf("reading the list of secrets: %w", err)
	}
	var all []store.Secret
	for i := range list.Items {
		m := &list.Items[i].ObjectMeta
		at, err := time.Parse(time.RFC3339, m.Annotations[annotationSet])
		if err != nil {
			at = m.CreationTimestamp.UTC()
		}
		all = append(all, store.Secret{Name: m.Name, SetAt: at})
	}
	slices.SortFunc(all, func(a, b store.Secret) int { return strings.Compare(a.Name, b.Name) })
	return all, nil
}

// DeleteSecret deletes the Secret of a name, if it is ours.
func (s *Store) DeleteSecret(ctx context.Context, name string) error {
	ctx, done, err := s.beginWrite(ctx)
	if err != nil {
		return err
	}
	defer done()
	meta, err := s.secretMeta(ctx, name)
	switch {
	case isMissing(err):
		return store.NoSecret(name)
	case err != nil:
		return s.failure(ctx, "deleting the secret "+name, err)
	case meta.Labels[crd.SecretLabel] != "true":
		return s.foreignSecret(name)
	}
	err = s.core.Secrets(s.cfg.Namespace).Delete(ctx, name, metav1.DeleteOptions{
		Preconditions: &metav1.Preconditions{UID: &meta.UID, ResourceVersion: &meta.ResourceVersion},
	})
	switch {
	case isMissing(err):
		return store.NoSecret(name)
	case apierrors.IsConflict(err):
		return conflict("the secret " + name)
	}
	return s.failure(ctx, "deleting the secret "+name, err)
}

func (s *Store) secretMeta(ctx context.Context, name string) (*metav1.ObjectMeta, error) {
	answer := s.core.RESTClient().Get().Namespace(s.cfg.Namespace).Resource("secrets").Name(name).
		SetHeader("Accept", "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io").Do(ctx)
	if err := answer.Error(); err != nil { // Raw would not say what is missing
		return nil, err
	}
	text, err := answer.Raw()
	if err != nil {
		return nil, err
	}
	var o metav1.PartialObjectMetadata
	if err := json.Unmarshal(text, &o); err != nil {
		return nil, fmt.Errorf("reading the secret %s: %w", name, err)
	}
	return &o.ObjectMeta, nil
}

func (s *Store) foreignSecret(name string) error {
	return fault.New(fault.Conflict, workload.CodeSecretForeign, "the Secret %s in the namespace %s is not one of Cortex's, and stays as it is", name, s.cfg.Namespace).
		WithHint("choose another name; or make it one, if its value is under the key %q: kubectl label secret %s -n %s %s=true", crd.SecretKey, name, s.cfg.Namespace, crd.SecretLabel)
}
