package kube

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/rest"

	"cortex.dev/cortex/internal/crd"
	"cortex.dev/cortex/internal/workload"
)

// Labels of everything that belongs to a workload.
const (
	labelAPI  = "cortex.dev/api"
	labelName = "apiName"
	labelKind = "apiKind"
)

func labels(name string, kind workload.Kind) map[string]string {
	l := map[string]string{labelAPI: "true", labelName: name}
	if kind != "" {
		l[labelKind] = string(kind)
	}
	return l
}

func selector(name string) string {
	if name == "" {
		return labelAPI + "=true"
	}
	return labelAPI + "=true," + labelName + "=" + name
}

// object is the resource of a workload, of a job or of keys as it goes over the wire: crd.API
// or crd.Job with its parts still closed, so that one of them which cannot be read
// does not take the whole list with it.
type object struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitzero"`

	Spec   json.RawMessage `json:"spec,omitempty"`
	Status json.RawMessage `json:"status,omitempty"`
}

// DeepCopyObject copies all but the closed parts, which nobody changes in place.
func (o *object) DeepCopyObject() runtime.Object {
	c := *o
	o.ObjectMeta.DeepCopyInto(&c.ObjectMeta)
	return &c
}

type objectList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitzero"`
	Items           []object `json:"items"`
}

// DeepCopyObject copies the list and its objects.
func (l *objectList) DeepCopyObject() runtime.Object {
	c := *l
	c.Items = make([]object, len(l.Items))
	for i := range l.Items {
		c.Items[i] = l.Items[i]
		l.Items[i].ObjectMeta.DeepCopyInto(&c.Items[i].ObjectMeta)
	}
	return &c
}

// client speaks to the API server about the resources of one namespace.
type client struct {
	rest      *rest.RESTClient
	params    runtime.ParameterCodec
	namespace string
}

// fieldManager is who kubectl shows as the writer.
const fieldManager = "cortex"

func newClient(cfg *rest.Config, transport *http.Client, namespace string) (*client, error) {
	scheme := runtime.NewScheme()
	kinds := workload.Kinds()
	for _, k := range workload.JobKinds() {
		kinds = append(kinds, workload.Kind(k)) // a kind of resources too
	}
	kinds = append(kinds, keyKind)
	for _, k := range kinds {
		scheme.AddKnownTypeWithName(crd.GroupVersion.WithKind(string(k)), &object{})
		scheme.AddKnownTypeWithName(crd.GroupVersion.WithKind(string(k)+"List"), &objectList{})
	}
	metav1.AddToGroupVersion(scheme, crd.GroupVersion)
	c := rest.CopyConfig(cfg)
	c.APIPath, c.GroupVersion = "/apis", &crd.GroupVersion
	c.NegotiatedSerializer = serializer.NewCodecFactory(scheme).WithoutConversion()
	c.ContentType, c.AcceptContentTypes = runtime.ContentTypeJSON, ""
	r, err := rest.RESTClientForConfigAndClient(c, transport)
	if err != nil {
		return nil, err
	}
	return &client{rest: r, params: runtime.NewParameterCodec(scheme), namespace: namespace}, nil
}

// into makes a request and reads the answer. The kind is written into it because
// the machinery of the client takes it out.
func (o *object) into(ctx context.Context, kind workload.Kind, r *rest.Request) (*object, error) {
	if err := r.Do(ctx).Into(o); err != nil {
		return nil, err
	}
	o.APIVersion, o.Kind = crd.GroupVersion.String(), string(kind)
	return o, nil
}

func (c *client) get(ctx context.Context, kind workload.Kind, name string) (*object, error) {
	return new(object).into(ctx, kind, c.rest.Get().Namespace(c.namespace).Resource(crd.Plural(kind)).Name(name))
}

// create writes an object that does not exist. Keys that the definition does not
// know are an error: the API server would drop them in silence, and the record
// would not be what its writer meant.
func (c *client) create(ctx context.Context, o *object) (*object, error) {
	return c.write(ctx, c.rest.Post(), o)
}

// update writes an object that is still at its resource version.
func (c *client) update(ctx context.Context, o *object) (*object, error) {
	return c.write(ctx, c.rest.Put().Name(o.Name), o)
}

// updateStatus writes the status of an object that is still at its resource version.
func (c *client) updateStatus(ctx context.Context, o *object) (*object, error) {
	return c.write(ctx, c.rest.Put().Name(o.Name).SubResource("status"), o)
}

func (c *client) write(ctx context.Context, r *rest.Request, o *object) (*object, error) {
	body, err := json.Marshal(o)
	if err != nil {
		return nil, fmt.Errorf("writing %s as JSON: %w", o.Name, err)
	}
	kind := workload.Kind(o.Kind)
	r = r.Namespace(c.namespace).Resource(crd.Plural(kind)).
		Param("fieldManager", fieldManager).Param("fieldValidation", metav1.FieldValidationStrict).Body(body)
	return new(object).into(ctx, kind, r)
}

// remove deletes the object that has this identity and version.
func (c *client) remove(ctx context.Context, kind workload.Kind, o *object) error {
	return c.delete(ctx, crd.Plural(kind), o.Name, &metav1.DeleteOptions{
		Preconditions: &metav1.Preconditions{UID: &o.UID, ResourceVersion: &o.ResourceVersion},
	})
}

func (c *client) delete(ctx context.Context, resource, name string, opts *metav1.DeleteOptions) error {
	return c.rest.Delete().Namespace(c.namespace).Resource(resource).Name(name).Body(opts).Do(ctx).Error()
}

func (c *client) list(ctx context.Context, kind workload.Kind, opts metav1.ListOptions) (*objectList, error) {
	list := new(objectList)
	err := c.rest.Get().Namespace(c.namespace).Resource(crd.Plural(kind)).VersionedParams(&opts, c.params).Do(ctx).Into(list)
	return list, err
}

func (c *client) watch(ctx context.Context, kind workload.Kind, opts metav1.ListOptions) (watch.Interface, error) {
	opts.Watch = true
	return c.rest.Get().Namespace(c.namespace).Resource(crd.Plural(kind)).VersionedParams(&opts, c.params).Watch(ctx)
}

// metadata reads the metadata of the resources that a selector names; what is in
// them may be large.
func (c *client) metadata(ctx context.Context, resource, labels string) ([]metav1.ObjectMeta, error) {
	var all []metav1.ObjectMeta
	opts := metav1.ListOptions{LabelSelector: labels, Limit: 500}
	for {
		text, err := c.rest.Get().Namespace(c.namespace).Resource(resource).VersionedParams(&opts, c.params).
			SetHeader("Accept", "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io").Do(ctx).Raw()
		if err != nil {
			return nil, err
		}
		var list metav1.PartialObjectMetadataList
		if err := json.Unmarshal(text, &list); err != nil {
			return nil, fmt.Errorf("reading a list of %s: %w", resource, err)
		}
		for i := range list.Items {
			all = append(all, list.Items[i].ObjectMeta)
		}
		if opts.Continue = list.Continue; opts.Continue == "" {
			return all, nil
		}
	}
}

// patch changes some members of one resource.
func (c *client) patch(ctx context.Context, resource, name string, body []byte) error {
	return c.rest.Patch(types.MergePatchType).Namespace(c.namespace).Resource(resource).Name(name).
		Param("fieldManager", fieldManager).Body(body).Do(ctx).Error()
}
