package operator

import (
	"context"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"cortex.dev/cortex/internal/fault"

	"cortex.dev/cortex/internal/workload"
)

// withSecrets is an API whose variables have secrets.
func withSecrets(name string, secrets ...string) string {
	text := realtime(name, "")
	if len(secrets) > 0 {
		text += "        env:\n"
	}
	for i, s := range secrets {
		text += "          V" + itoa(i) + ": {secret: " + s + "}\n"
	}
	return text
}

func secretWorld(t *testing.T) *world {
	w := newWorld(t)
	w.secrets = w.store
	return w
}

func (w *world) set(name, value string) workload.SecretSet {
	w.t.Helper()
	set, err := w.SetSecret(w.t.Context(), name, []byte(value))
	if err != nil {
		w.t.Fatal(err)
	}
	return set
}

// Everything that is missing is told at once, where it is referred to.
func TestDeployWantsItsSecrets(t *testing.T) {
	t.Parallel()
	w := secretWorld(t)
	w.set("hf-token", "x")
	config := withSecrets("a", "hf-token", "hf-tokem") + withSecrets("b", "database")
	_, err := w.Deploy(t.Context(), workload.DeployRequest{FileName: "cortex.yaml", Config: config})
	var got []string
	for _, p := range fault.From(err).Problems {
		got = append(got, p.Code+" "+itoa(p.Line)+" "+p.Path+": "+p.Message+" ("+p.Hint+")")
	}
	want := []string{
		`secrets.not_found 9 pod.containers[0].env.V1: there is no secret hf-tokem (did you mean "hf-token"?)`,
		"secrets.not_found 17 pod.containers[0].env.V0: there is no secret database (make it first: cortex secret set database)",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("Deploy() = %v, problems differ (-want +got):\n%s", err, diff)
	}
	w.set("hf-tokem", "x")
	w.set("database", "x")
	if r := w.deploy(config); r[0].Error != "" || r[1].Error != "" {
		t.Errorf("Deploy() with its secrets = %+v", r)
	}
}

// A changed value is no other version: who runs with the one of before is said.
func TestSetSecretSaysWhoRunsWithTheOldValue(t *testing.T) {
	t.Parallel()
	w := secretWorld(t)
	if set := w.set("hf-token", "one"); !set.Created || len(set.RunWithOld) != 0 {
		t.Errorf("SetSecret() = %+v, want one that nobody uses", set)
	}
	w.run()
	first := w.deploy(withSecrets("iris", "hf-token"))[0].API.Spec
	w.live("iris")
	w.deploy(withSecrets("other"))
	if set := w.set("hf-token", "two"); set.Created || !cmp.Equal(set.RunWithOld, []string{"iris"}) {
		t.Errorf("SetSecret() = %+v, want iris with the old value", set)
	}
	if again := w.deploy(withSecrets("iris", "hf-token"))[0]; again.Action != workload.ActionNone || again.API.Spec.PodID != first.PodID {
		t.Errorf("Deploy() after another value = %q, want nothing to do", again.Action)
	}
	all, err := w.Secrets(t.Context())
	if err != nil || len(all) != 1 || !cmp.Equal(all[0].UsedBy, []string{"iris"}) {
		t.Errorf("Secrets() = %+v, %v, want hf-token used by iris", all, err)
	}
}

func TestSecretsThatAreRefused(t *testing.T) {
	t.Parallel()
	w := secretWorld(t)
	for _, tt := range []struct{ name, value, code string }{
		{"HF_TOKEN", "x", workload.CodeSecretName},
		{"", "x", workload.CodeSecretName},
		{strings.Repeat("a", 64), "x", workload.CodeSecretName},
		{"hf-token", "", workload.CodeSecretValue},
		{"hf-token", "hunter2\x00", workload.CodeSecretValue},
		{"hf-token", "hunter2\x80", workload.CodeSecretValue},
		{"hf-token", strings.Repeat("hunter2 ", workload.MaxSecretBytes/8) + "x", workload.CodeSecretValue},
	} {
		_, err := w.SetSecret(t.Context(), tt.name, []byte(tt.value))
		if f := fault.From(err); f.Code != tt.code || strings.Contains(f.Message+f.Hint, "hunter2") {
			t.Errorf("SetSecret(%q, %d bytes) = %v, want %s without the value", tt.name, len(tt.value), err, tt.code)
		}
	}
	if _, err := w.SetSecret(t.Context(), strings.Repeat("a", 63), []byte(strings.Repeat("x", workload.MaxSecretBytes))); err != nil {
		t.Errorf("SetSecret(the longest) = %v", err)
	}
}

func TestDeleteSecretThatIsUsed(t *testing.T) {
	t.Parallel()
	w := secretWorld(t)
	w.set("hf-token", "x")
	w.deploy(withSecrets("iris", "hf-token") + withSecrets("b", "hf-token"))
	for _, tt := range []struct {
		name  string
		force bool
		code  string
	}{
		{"hf-token", false, workload.CodeSecretInUse},
		{"nothing", false, workload.CodeSecretNotFound},
		{"Not-A-Name", true, workload.CodeSecretNotFound},
		{"hf-token", true, ""},
		{"hf-token", true, workload.CodeSecretNotFound},
	} {
		_, err := w.DeleteSecret(t.Context(), tt.name, tt.force)
		if fault.Code(err) != tt.code || tt.code == workload.CodeSecretInUse && !strings.Contains(err.Error(), "b, iris") {
			t.Errorf("DeleteSecret(%s, %t) = %v, want code %q", tt.name, tt.force, err, tt.code)
		}
	}
}

// Whoever may deploy must not read thereby what she may not use, by whichever key of the
// file: all are asked for at once, before it is told which there are.
func TestDeployAsksForEverySecretThatItReads(t *testing.T) {
	t.Parallel()
	w := secretWorld(t)
	w.set("hf-token", "x")
	w.set("database", "x")
	var asked []string
	w.useSecrets = func(_ context.Context, names []string) error {
		asked = append(asked, strings.Join(names, " "))
		return fault.New(fault.Forbidden, "auth.forbidden", "no")
	}
	everyWay := withSecrets("a", "hf-token", "database", "nothing") +
		"        env_from: [{name: X, secret: of-kubernetes, key: k}]\n    volumes: [{name: v, secret: mounted}]\n"
	for _, config := range []string{everyWay, withSecrets("b")} {
		for _, dry := range []bool{false, true} {
			_, err := w.Deploy(t.Context(), workload.DeployRequest{Config: config, DryRun: dry})
			if refused := fault.Is(err, fault.Forbidden); refused != (config == everyWay) {
				t.Errorf("Deploy() = %v", err)
			}
		}
	}
	const all = "database hf-token mounted nothing of-kubernetes"
	if diff := cmp.Diff([]string{all, all}, asked); diff != "" {
		t.Errorf("asked for (-want +got):\n%s", diff)
	}
}

// A version of somebody who might use the secret is no way to it.
func TestRollbackAsksForTheSecretsOfThatVersion(t *testing.T) {
	t.Parallel()
	w := secretWorld(t)
	w.set("hf-token", "x")
	w.run()
	first := w.deploy(withSecrets("iris", "hf-token"))[0].API.Spec.ID
	w.live("iris")
	w.deploy(withSecrets("iris"))
	// The record learns a moment after the replicas that the first version serves no more.
	eventually(t, "the first version is gone", func() bool { s := w.record("iris").Serving; return s == nil || s.ID != first })
	w.useSecrets = func(context.Context, []string) error { return fault.New(fault.Forbidden, "auth.forbidden", "no") }
	if _, err := w.Rollback(t.Context(), "iris", first); !fault.Is(err, fault.Forbidden) {
		t.Errorf("Rollback() = %v, want a refusal", err)
	}
	w.useSecrets = nil
	if _, err := w.DeleteSecret(t.Context(), "hf-token", false); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Rollback(t.Context(), "iris", first); fault.Code(err) != workload.CodeSecretNotFound {
		t.Errorf("Rollback() to a version whose secret is deleted = %v, want %s", err, workload.CodeSecretNotFound)
	}
}
