package authtest

import (
	"encoding/json"
	"testing"
)

func TestConfigCheck(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, json, want string
	}{
		{"complete", `{"region":"r","identities":[{"access_key_id":"AKIA1","secret_access_key":"s","arn":"a","user_id":"u","account":"1"}],
			"roles":{"arn:aws:iam::111122223333:role/p/R":{}},"web_tokens":{"t":"arn:aws:iam::111122223333:role/p/R"},
			"sso_tokens":[{"token":"t","account":"1","role_name":"n"}]}`, ""},
		{"everything wrong", `{"identities":[{"access_key_id":"no key"},{"access_key_id":"A","secret_access_key":"s"},{"access_key_id":"A","secret_access_key":"s"}],
			"roles":{"R":{}},"web_tokens":{"t":"S"},"sso_tokens":[{},{"token":"t","account":"1","role_name":"n","arn":"x"}]}`,
			`region is missing
identities[0]: access_key_id and secret_access_key are needed
identities[1]: arn, user_id and account are needed
identities[2]: A is there twice
roles: "R" is not the arn of a role
web_tokens: "S" is not among the roles
sso_tokens[0]: token, account and role_name are needed
sso_tokens[1]: "x" is not the arn of a role`},
	}
	for _, tt := range tests {
		var cfg Config
		if err := json.Unmarshal([]byte(tt.json), &cfg); err != nil {
			t.Fatal(err)
		}
		got := ""
		if err := cfg.Check(); err != nil {
			got = err.Error()
		}
		if got != tt.want {
			t.Errorf("%s: Check() = %s, want %s", tt.name, got, tt.want)
		}
	}
}
