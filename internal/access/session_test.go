package access

import (
	"slices"
	"testing"
	"time"

	"cortex.dev/cortex/internal/sealed"
)

// Sessions are those of the keys that were told last, and none without any.
func TestSessionsOfKeys(t *testing.T) {
	t.Parallel()
	secret := sealed.Secret{7}
	mint := func(cluster string) []byte {
		t.Helper()
		token, err := sealed.Make(SessionVersion, 3, &secret, map[string]any{
			"i": "x", "a": cluster, "e": 1_800_000_000, "p": map[string]string{"arn": "arn:aws:iam::123456789012:role/shop", "session_name": "bob"}, "n": []string{"iris"},
		})
		if err != nil {
			t.Fatal(err)
		}
		return []byte(token)
	}
	var s Sessions
	ours := mint("ours")
	if got, ok := s.Verify(ours); ok {
		t.Errorf("Verify() without keys = %+v", got)
	}
	keys := SessionKeys{ClusterID: "ours", Keys: []SessionKey{{Epoch: 3, Secret: secret[:]}, {Epoch: 2, Secret: []byte("short")}}}
	s.Use(keys)
	for range 2 { // the second time it is remembered
		got, ok := s.Verify(ours)
		if !ok || got.Identity != "arn:aws:iam::123456789012:role/shop" || got.Label != "bob" || !slices.Equal(got.APIs, []string{"iris"}) || !got.Expires.Equal(time.Unix(1_800_000_000, 0)) {
			t.Errorf("Verify() = %+v, %v", got, ok)
		}
	}
	if got, ok := s.Verify(mint("theirs")); ok {
		t.Errorf("Verify() of another cluster's session = %+v", got)
	}
	s.Use(SessionKeys{ClusterID: "ours", Keys: []SessionKey{{Epoch: 4, Secret: secret[:]}}})
	if got, ok := s.Verify(ours); ok {
		t.Errorf("Verify() after the keys were replaced = %+v", got)
	}
}
