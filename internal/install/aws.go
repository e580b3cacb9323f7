package install

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/util/retry"
	"sigs.k8s.io/yaml"

	"cortex.dev/cortex/internal/fault"
)

// Apply installs the chart, or brings the installation that there is to this chart and to
// cfg.Values. It is what may be done again after it was interrupted.
func Apply(ctx context.Context, cfg Config) (Info, error) {
	w, err := begin(cfg)
	if err != nil {
		return Info{}, err
	}
	before, err := w.lastRelease()
	if err != nil {
		return Info{}, err
	}
	there, err := w.applied(ctx)
	if err != nil {
		return Info{}, err
	}
	if canInstall(before, w.cfg.Namespace) == nil && there == nil {
		return w.install(ctx, false)
	}
	return Upgrade(ctx, cfg)
}

// Authority is the certificate authority (PEM) that vouches for the operator, or "" while
// it has not published one.
func Authority(ctx context.Context, cfg Config) (string, error) {
	w, err := begin(cfg)
	if err != nil {
		return "", err
	}
	found, err := w.clients.CoreV1().ConfigMaps(w.cfg.Namespace).Get(ctx, authorityMap, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return "", nil
	}
	if err != nil {
		return "", asFault("reading the authority of the operator", err)
	}
	return found.Data[authorityKey], nil
}

const authorityKey = "ca.crt"

// Bounds of letting go.
const (
	releasePatience = 5 * time.Minute
	releasePause    = 5 * time.Second
)

// ReleaseCloud removes what in a cluster holds on to something in its cloud: Services of
// type LoadBalancer and Ingresses, in every namespace. It returns when their controllers
// have let go, or have had their time.
func ReleaseCloud(ctx context.Context, cfg Config) error {
	w, err := begin(cfg)
	if err != nil {
		return err
	}
	return w.releaseCloud(ctx)
}

func (w *work) releaseCloud(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, releasePatience)
	defer cancel()
	for first := true; ; first = false {
		left, err := w.holding(ctx, first)
		if err != nil {
			return asFault("letting go of load balancers", err)
		}
		if len(left) == 0 {
			return nil
		}
		select {
		case <-ctx.Done():
			return fault.New(fault.Unavailable, "install.not_released", "these were not let go of in %s: %s", releasePatience, strings.Join(left, ", ")).
				WithHint("their controllers may be down; what they have made in the cloud is looked for by its tags")
		case <-time.After(releasePause):
		}
	}
}

// holding are the objects that hold on to something, which are deleted too if remove.
func (w *work) holding(ctx context.Context, remove bool) (left []string, err error) {
	var errs []error
	services, err := w.clients.CoreV1().Services("").List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, err
	}
	for _, s := range services.Items {
		if s.Spec.Type != corev1.ServiceTypeLoadBalancer {
			continue
		}
		left = append(left, "service "+s.Namespace+"/"+s.Name)
		if remove {
			errs = append(errs, ignoreGone(w.clients.CoreV1().Services(s.Namespace).Delete(ctx, s.Name, metav1.DeleteOptions{})))
		}
	}
	ingresses, err := w.clients.NetworkingV1().Ingresses("").List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, err
	}
	for _, i := range ingresses.Items {
		left = append(left, "ingress "+i.Namespace+"/"+i.Name)
		if remove {
			errs = append(errs, ignoreGone(w.clients.NetworkingV1().Ingresses(i.Namespace).Delete(ctx, i.Name, metav1.DeleteOptions{})))
		}
	}
	return left, errors.Join(errs...)
}

func ignoreGone(err error) error {
	if apierrors.IsNotFound(err) {
		return nil
	}
	return err
}

// Holding are the PodDisruptionBudgets, as namespace/name, that let no pod of theirs go at
// present: whoever empties nodes waits for them until it gives up.
func Holding(ctx context.Context, cfg Config) ([]string, error) {
	w, err := begin(cfg)
	if err != nil {
		return nil, err
	}
	return w.holdingBudgets(ctx)
}

func (w *work) holdingBudgets(ctx context.Context) ([]string, error) {
	found, err := w.clients.PolicyV1().PodDisruptionBudgets("").List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, asFault("listing PodDisruptionBudgets", err)
	}
	var all []string
	for i := range found.Items {
		if b := &found.Items[i]; b.Status.ExpectedPods > 0 && b.Status.DisruptionsAllowed == 0 {
			all = append(all, b.Namespace+"/"+b.Name)
		}
	}
	slices.Sort(all)
	return all, nil
}

// Identity is one line of the ConfigMap by which EKS maps identities of AWS.
type Identity struct {
	ARN    string // or the number of an account, all of whose users are let in by their own names
	Role   bool   // else a user
	Groups []string
}

// Where the mapping is, and its keys: nodes are in it too.
const (
	mapName, mapNamespace = "aws-auth", "kube-system"
	mapRoles, mapUsers    = "mapRoles", "mapUsers"
	mapAccounts           = "mapAccounts"
)

// Identities are those that the ConfigMap aws-auth maps; none when there is no such map.
func Identities(ctx context.Context, cfg Config) ([]Identity, error) {
	w, err := begin(cfg)
	if err != nil {
		return nil, err
	}
	return w.identities(ctx)
}

func (w *work) identities(ctx context.Context) ([]Identity, error) {
	found, err := w.clients.CoreV1().ConfigMaps(mapNamespace).Get(ctx, mapName, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, asFault("reading "+mapName, err)
	}
	var all []Identity
	for _, key := range []string{mapRoles, mapUsers} {
		lines, err := identityLines(found, key)
		if err != nil {
			return nil, err
		}
		for _, line := range lines {
			all = append(all, identityOf(line, key))
		}
	}
	var accounts []any
	if err := readMap(found, mapAccounts, &accounts); err != nil {
		return nil, err
	}
	for _, account := range accounts {
		all = append(all, Identity{ARN: fmt.Sprint(account)})
	}
	return all, nil
}

// identityLines are the lines of a key. They are kept as they are: they have more keys
// than are read here.
func identityLines(m *corev1.ConfigMap, key string) (lines []map[string]any, err error) {
	return lines, readMap(m, key, &lines)
}

// readMap reads the lines of a key.
func readMap(m *corev1.ConfigMap, key string, lines any) error {
	if err := yaml.Unmarshal([]byte(m.Data[key]), lines); err != nil {
		return fault.New(fault.Invalid, "install.aws_auth", "the key %s of the ConfigMap %s cannot be read: %w", key, mapName, err).
			WithHint("`kubectl edit configmap %s --namespace %s` corrects it", mapName, mapNamespace)
	}
	return nil
}

func identityOf(line map[string]any, key string) Identity {
	i := Identity{Role: key == mapRoles}
	word := "userarn"
	if i.Role {
		word = "rolearn"
	}
	i.ARN, _ = line[word].(string)
	groups, _ := line["groups"].([]any)
	for _, g := range groups {
		i.Groups = append(i.Groups, fmt.Sprint(g))
	}
	return i
}

// RemoveIdentities takes the lines of some ARNs out of the ConfigMap aws-auth. It is never
// deleted: EKS keeps the roles of nodes there.
func RemoveIdentities(ctx context.Context, cfg Config, arns []string) error {
	w, err := begin(cfg)
	if err != nil {
		return err
	}
	return w.removeIdentities(ctx, arns)
}

func (w *work) removeIdentities(ctx context.Context, arns []string) error {
	maps := w.clients.CoreV1().ConfigMaps(mapNamespace)
	err := retry.RetryOnConflict(retry.DefaultRetry, func() error {
		found, err := maps.Get(ctx, mapName, metav1.GetOptions{})
		if err != nil {
			return ignoreGone(err)
		}
		for _, key := range []string{mapRoles, mapUsers} {
			lines, err := identityLines(found, key)
			if err != nil {
				return err
			}
			kept := slices.DeleteFunc(slices.Clone(lines), func(line map[string]any) bool { return slices.Contains(arns, identityOf(line, key).ARN) })
			if len(kept) == len(lines) {
				continue
			}
			text, err := yaml.Marshal(kept)
			if err != nil {
				return err
			}
			found.Data[key] = string(text)
		}
		_, err = maps.Update(ctx, found, metav1.UpdateOptions{})
		return err
	})
	return asFault("taking identities out of "+mapName, err)
}
