package main

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"os"
	"path/filepath"
)

const forRoles = `- name: roles
  kind: RealtimeAPI
  networking:
    auth: {accept: [iam], forward: [subject]}
  pod:
    containers:
      - name: server
        command: [../iris/bin/server]
        env: {MODEL: ../iris/model-v2.json}
`

// role has an IAM role call an API of a server, by a session that it gets for a proof. The
// people and the simulator of AWS are those of demo-iam.
func (d *accessDemo) role(ctx context.Context) (err error) {
	d.title("And on a server for a team: an API that takes AWS identities")
	home := filepath.Join(filepath.Dir(d.dir), "team")
	if err := os.Mkdir(home, 0o700); err != nil {
		return err
	}
	team := &iamDemo{demo: newDemo(d.out, os.Environ()), home: home, policy: filepath.Join(home, "policy.cedar")}
	defer func() { err = errors.Join(err, team.stop()) }()
	if err := d.show(ctx, "go", "build", "-o", stsBin, "./e2e/sts"); err != nil {
		return err
	}
	if err := team.startIAM(ctx); err != nil {
		return err
	}
	file := filepath.Join(d.dir, "roles.yaml")
	if err := os.WriteFile(file, []byte(forRoles), 0o600); err != nil {
		return err
	}
	for _, p := range []*person{team.alice, team.bob} {
		if err := p.configure(ctx, team.endpoint, team.ca); err != nil {
			return err
		}
	}
	if err := team.alice.show(ctx, cortexBin, "deploy", file); err != nil {
		return err
	}
	at, err := team.alice.endpointOf(ctx, "roles")
	if err != nil {
		return err
	}
	r, err := d.callAt(ctx, at, "")
	if err := d.want("POST /roles, by a stranger", r, err, http.StatusUnauthorized, "credentials_missing"); err != nil {
		return err
	}
	d.typed(cortexBin, "token", "--api", "roles")
	text, err := team.bob.output(ctx, cortexBin, "token", "--api", "roles", "-o", "json")
	var session struct{ Token string }
	if err == nil {
		err = json.Unmarshal([]byte(text), &session)
	}
	if err != nil {
		return err
	}
	d.say("a session of bob, who has assumed the role DataScience; AWS was asked who he is, and nobody else has his secret")
	r, err = d.callAt(ctx, at, session.Token)
	return d.want("POST /roles, with it", r, err, http.StatusOK, "")
}
