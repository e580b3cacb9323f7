package crd

import (
	"bytes"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"cortex.dev/cortex/internal/workload"
)

// APIList is what the API server answers to a list of one kind.
type APIList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitzero"`
	Items           []API `json:"items"`
}

// RevisionList is what the API server answers to a list of revisions.
type RevisionList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitzero"`
	Items           []Revision `json:"items"`
}

// DeepCopyObject copies a but for what nobody may change in place: the text of its
// specification and its revision.
func (a *API) DeepCopyObject() runtime.Object {
	c := a.copied()
	return &c
}

func (a *API) copied() API {
	c := *a
	a.ObjectMeta.DeepCopyInto(&c.ObjectMeta)
	c.Spec = bytes.Clone(a.Spec)
	if a.Deployed != nil {
		d := *a.Deployed
		c.Deployed = &d
	}
	if a.Status != nil {
		s := *a.Status
		s.Conditions = make([]metav1.Condition, len(a.Status.Conditions))
		for i := range s.Conditions {
			a.Status.Conditions[i].DeepCopyInto(&s.Conditions[i])
		}
		c.Status = &s
	}
	return c
}

// DeepCopyObject copies the list and its resources, each as API.DeepCopyObject does.
func (l *APIList) DeepCopyObject() runtime.Object {
	c := *l
	l.ListMeta.DeepCopyInto(&c.ListMeta)
	c.Items = make([]API, len(l.Items))
	for i := range l.Items {
		c.Items[i] = l.Items[i].copied()
	}
	return &c
}

// DeepCopyObject copies r but for its revision, which nobody may change in place.
func (r *Revision) DeepCopyObject() runtime.Object {
	c := *r
	r.ObjectMeta.DeepCopyInto(&c.ObjectMeta)
	return &c
}

// DeepCopyObject copies the list and its entries, each as Revision.DeepCopyObject does.
func (l *RevisionList) DeepCopyObject() runtime.Object {
	c := *l
	l.ListMeta.DeepCopyInto(&c.ListMeta)
	c.Items = make([]Revision, len(l.Items))
	for i := range l.Items {
		c.Items[i] = *l.Items[i].DeepCopyObject().(*Revision)
	}
	return &c
}

// AddToScheme lets clients of s read and write the resources here.
func AddToScheme(s *runtime.Scheme) error {
	for _, k := range workload.Kinds() {
		s.AddKnownTypeWithName(GroupVersion.WithKind(string(k)), &API{})
		s.AddKnownTypeWithName(GroupVersion.WithKind(string(k)+"List"), &APIList{})
	}
	s.AddKnownTypeWithName(GroupVersion.WithKind(RevisionKind), &Revision{})
	s.AddKnownTypeWithName(GroupVersion.WithKind(RevisionKind+"List"), &RevisionList{})
	metav1.AddToGroupVersion(s, GroupVersion)
	return nil
}
