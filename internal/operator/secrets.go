package operator

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"cortex.dev/cortex/internal/fault"
	"cortex.dev/cortex/internal/manifest"
	"cortex.dev/cortex/internal/store"
	"cortex.dev/cortex/internal/suggest"
	"cortex.dev/cortex/internal/workload"
)

// Secrets returns what is known of every secret, and who uses it.
func (o *Operator) Secrets(ctx context.Context) ([]workload.Secret, error) {
	kept, err := o.keptSecrets(ctx)
	if err != nil {
		return nil, err
	}
	deployed, err := o.store.List(ctx)
	if err != nil {
		return nil, err
	}
	all := make([]workload.Secret, len(kept))
	for i, s := range kept {
		all[i] = workload.Secret{Name: s.Name, SetAt: s.SetAt, UsedBy: usersOf(deployed, reads(s.Name))}
	}
	return all, nil
}

func (o *Operator) keptSecrets(ctx context.Context) ([]store.Secret, error) {
	if o.secrets == nil {
		return nil, nil
	}
	return o.secrets.Secrets(ctx)
}

// SetSecret keeps a value. Replicas that run have the one of before until they are replaced.
func (o *Operator) SetSecret(ctx context.Context, name string, value []byte) (workload.SecretSet, error) {
	none := workload.SecretSet{}
	if !workload.IsSecretName(name) {
		return none, fault.New(fault.Invalid, workload.CodeSecretName, "%q cannot be the name of a secret", name).
			WithHint("names have %s, at most %d characters", workload.WordsOf(workload.NamePattern), workload.MaxSecretNameLength)
	}
	if problem := workload.SecretValueProblem(value); problem != "" {
		return none, fault.New(fault.Invalid, workload.CodeSecretValue, "the value of %s %s", name, problem).
			WithHint("a secret is text of 1 to %d bytes; encode other data, with base64 for example", workload.MaxSecretBytes)
	}
	if o.secrets == nil {
		return none, fault.New(fault.Unsupported, "secrets.not_kept", "this environment keeps no secrets")
	}
	created, err := o.secrets.SetSecret(ctx, name, value, o.now().Truncate(1e9))
	if err != nil {
		return none, err
	}
	set := workload.SecretSet{Name: name, Created: created, RunWithOld: []string{}}
	deployed, err := o.store.List(ctx)
	if err != nil {
		return none, err
	}
	for _, w := range deployed {
		if w.Replicas > 0 && uses(w, reads(name)) {
			set.RunWithOld = append(set.RunWithOld, w.Name())
		}
	}
	return set, nil
}

// DeleteSecret forgets a secret. Replicas that run keep the value that they have; force
// deletes it although the next ones could not start.
func (o *Operator) DeleteSecret(ctx context.Context, name string, force bool) (message workload.Message, err error) {
	if o.secrets == nil || !workload.IsSecretName(name) {
		return message, store.NoSecret(name)
	}
	err = o.change(ctx, func(ctx context.Context) error {
		deployed, err := o.store.List(ctx)
		if err != nil {
			return err
		}
		if users := usersOf(deployed, reads(name)); len(users) > 0 && !force {
			return fault.New(fault.Conflict, workload.CodeSecretInUse, "the secret %s is used by %s", name, strings.Join(users, ", ")).
				WithHint("deploy them without it or delete them first; with --force their next replicas cannot start")
		}
		if err := o.secrets.DeleteSecret(ctx, name); err != nil {
			return err
		}
		message.Message = "deleted the secret " + name
		return nil
	})
	return message, err
}

// reads is whether replicas of a revision have a secret.
func reads(secret string) func(*workload.Revision) bool {
	return func(r *workload.Revision) bool {
		return slices.ContainsFunc(r.SecretReferences(), func(ref workload.SecretReference) bool { return ref.Secret == secret })
	}
}

// usersOf are the APIs, by name, of which some replicas use something.
func usersOf(deployed []store.Workload, use func(*workload.Revision) bool) []string {
	users := []string{}
	for _, w := range deployed {
		if uses(w, use) {
			users = append(users, w.Name())
		}
	}
	return users
}

// uses reports whether replicas of w use something, those that serve meanwhile too.
func uses(w store.Workload, use func(*workload.Revision) bool) bool {
	return w.Revision != nil && use(w.Revision) || w.Serving != nil && use(w.Serving)
}

// missingSecrets returns where a file refers to secrets that there are not.
func (o *Operator) missingSecrets(ctx context.Context, file *manifest.File) ([]fault.Problem, error) {
	var kept []string // read when the first is referred to
	var problems []fault.Problem
	for _, e := range file.Entries {
		for _, ref := range e.Spec.SecretReferences() {
			if kept == nil {
				all, err := o.keptSecrets(ctx)
				if err != nil {
					return nil, err
				}
				kept = make([]string, len(all), len(all)+1)
				for i, s := range all {
					kept[i] = s.Name
				}
			}
			if slices.Contains(kept, ref.Secret) {
				continue
			}
			p := e.Problem(ref.Path, workload.CodeSecretNotFound, "there is no secret %s", ref.Secret)
			p.Found = ref.Secret
			if p.Hint = suggest.Hint(ref.Secret, kept); p.Hint == "" {
				p.Hint = fmt.Sprintf("make it first: cortex secret set %s", ref.Secret)
			}
			problems = append(problems, p)
		}
	}
	return problems, nil
}

// permittedSecrets asks whether the caller may use every secret that replicas of the file
// could read: who may deploy could read it otherwise, by deploying what prints it.
func (o *Operator) permittedSecrets(ctx context.Context, file *manifest.File) error {
	return permittedUse(ctx, file, (*workload.Spec).SecretsUsed, o.useSecrets)
}

// permittedUse asks once for everything that the entries of a file use. ask may be nil:
// everything is permitted.
func permittedUse(ctx context.Context, file *manifest.File, used func(*workload.Spec) []string, ask func(context.Context, []string) error) error {
	if ask == nil {
		return nil
	}
	var names []string
	for i := range file.Entries {
		names = append(names, used(&file.Entries[i].Spec)...)
	}
	if len(names) == 0 {
		return nil
	}
	slices.Sort(names)
	return ask(ctx, slices.Compact(names))
}
