package policy

import (
	"slices"
	"testing"

	"github.com/cedar-policy/cedar-go"
	"github.com/google/go-cmp/cmp"

	"cortex.dev/cortex/internal/auth"
	"cortex.dev/cortex/internal/workload"
)

func TestTheSchemaHasTheActionsOfThePort(t *testing.T) {
	t.Parallel()
	want := []string{groupCluster}
	for _, a := range auth.Actions {
		want = append(want, string(a))
	}
	var got []string
	for uid := range theSchema().Actions {
		if uid.Type != typeAction {
			t.Errorf("the schema has an action of type %s", uid.Type)
		}
		got = append(got, string(uid.ID))
	}
	slices.Sort(got)
	slices.Sort(want)
	if !cmp.Equal(got, want) {
		t.Errorf("actions of the schema (-port +schema):\n%s", cmp.Diff(want, got))
	}
}

// Whatever may be asked fits the schema that policies were held to: otherwise a
// policy could be valid and mean something else.
func TestQuestionsFitTheSchema(t *testing.T) {
	t.Parallel()
	kinds := []string{"iris"}
	for _, k := range workload.Kinds() {
		kinds = append(kinds, "iris "+string(k))
	}
	for _, arn := range []string{alice, admin, root, guest, "arn:aws-us-gov:sts::123456789012:assumed-role/Admin/me"} {
		for _, action := range auth.Actions {
			for _, api := range append(kinds, "") {
				q := ask(t, arn, action, api)
				w := newQuestion(q)
				if err := validator().Request(w.request()); (err == nil) != applies(q) {
					t.Errorf("Request(%s %s %q) = %v, want an error: %t", arn, action, api, err, !applies(q))
				}
				for _, uid := range []cedar.EntityUID{w.principal, w.resource, w.environment, actions[action].UID} {
					e, ok := w.Get(uid)
					if err := validator().Entity(e); err != nil || !ok || e.UID != uid {
						t.Errorf("Get(%s) = %v, %t, and Entity() = %v", uid, e.UID, ok, err)
					}
				}
				if _, ok := w.Get(cedar.NewEntityUID(typeUser, "somebody else")); ok {
					t.Error("Get() knows somebody else")
				}
			}
		}
	}
}

func TestTheSchemaIsPrintedAsItIs(t *testing.T) {
	t.Parallel()
	text := Schema()
	if !cmp.Equal(text, schemaText) {
		t.Error("Schema() is not the embedded file")
	}
	text[0] = 'x'
	if schemaText[0] == 'x' {
		t.Error("Schema() can be changed by who reads it")
	}
}
