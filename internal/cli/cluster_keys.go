package cli

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"cortex.dev/cortex/internal/atomicfile"
	"cortex.dev/cortex/internal/awscreds"
	"cortex.dev/cortex/internal/fault"
)

// keyFlags are the credentials that a command line gives.
type keyFlags struct{ id, secret, clusterID, clusterSecret string }

func (k *keyFlags) add(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringVar(&k.id, "aws-key", "", "aws access key id (default: as the aws command line finds one)")
	flags.StringVar(&k.secret, "aws-secret", "", "aws secret access key; - reads it from standard input, so that no list of processes shows it")
	flags.StringVar(&k.clusterID, "cluster-aws-key", "", "of releases 0.20 to 0.30: what runs in the cluster has roles instead")
	flags.StringVar(&k.clusterSecret, "cluster-aws-secret", "", "of releases 0.20 to 0.30: what runs in the cluster has roles instead")
}

// four are the words for two pairs of credentials, and their values.
type four struct {
	words  [4]string // id, secret, and those for the cluster
	values [4]string
}

// pairRule says what is wrong with pairs of which some halves are given, or "": which is
// missing, and what to do.
func (f four) pairRule() (missing string) {
	given := func(i int) bool { return f.values[i] != "" }
	switch {
	case given(0) != given(1) && given(0):
		return f.words[1]
	case given(0) != given(1):
		return f.words[0]
	case given(2) != given(3) && given(2):
		return f.words[3]
	case given(2) != given(3):
		return f.words[2]
	case given(2) && !given(0):
		return f.words[0] + " and " + f.words[1]
	}
	return ""
}

// check refuses half a pair, a pair for the cluster without the first one, and a pair for
// the cluster at all.
func (f four) check() error {
	if missing := f.pairRule(); missing != "" {
		return fault.New(fault.Usage, "cli.incomplete_credentials", "%s is missing", missing).
			WithHint("%s and %s belong together, and so do %s and %s", f.words[0], f.words[1], f.words[2], f.words[3])
	}
	if f.values[2] != "" {
		return fault.New(fault.Unsupported, "clusterconfig.not_possible", "%s: nothing in a cluster is given a key any more, which everybody who administers it could read", f.words[2]).
			WithHint("leave it out: what runs in the cluster has roles, and APIs what iam_policy_arns says")
	}
	return nil
}

var (
	flagWords = [4]string{"--aws-key", "--aws-secret", "--cluster-aws-key", "--cluster-aws-secret"}
	envWords  = [4]string{"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "CLUSTER_AWS_ACCESS_KEY_ID", "CLUSTER_AWS_SECRET_ACCESS_KEY"}
)

// foundKeys are the credentials for one command.
type foundKeys struct {
	find  CloudKeys
	typed *cachedKeys // a pair from flags or the prompt, which is remembered
}

// cachedKeys is a pair as the cache of a cluster keeps it. It has no session token: one
// belongs to its hour.
type cachedKeys struct {
	ID     string          `json:"aws_access_key_id"`
	Secret awscreds.Secret `json:"aws_secret_access_key"`
}

func (c cachedKeys) credentials(source string) awscreds.Credentials {
	return awscreds.Credentials{Found: awscreds.Found{Source: source, AccessKeyID: awscreds.MaskID(c.ID)}, ID: c.ID, Secret: c.Secret}
}

// always finds the same credentials.
func always(k awscreds.Credentials) CloudKeys {
	return func(context.Context) (awscreds.Credentials, error) { return k, nil }
}

// clusterKeys finds the credentials for a cluster: those of the flags, then those that a
// cluster of this name and region was worked on with before, then those of the environment,
// of profiles and of whatever else the AWS command line would take, and at last it asks.
func (a *app) clusterKeys(ctx context.Context, k *keyFlags, name, region string, yes bool) (foundKeys, error) {
	if err := readSecrets(a.streams.In, &k.secret, &k.clusterSecret); err != nil {
		return foundKeys{}, err
	}
	if err := (four{flagWords, [4]string{k.id, k.secret, k.clusterID, k.clusterSecret}}).check(); err != nil {
		return foundKeys{}, err
	}
	if k.id != "" {
		typed := cachedKeys{k.id, awscreds.Hide(k.secret)}
		return foundKeys{always(typed.credentials("--aws-key")), &typed}, nil
	}
	if cached, err := a.cachedKeys(name, region); err != nil {
		return foundKeys{}, err
	} else if cached != nil {
		a.note("using aws access key id %s from the cache of cluster %s (--aws-key and --aws-secret are others)", awscreds.MaskID(cached.ID), name)
		return foundKeys{find: always(cached.credentials("the cache of the cluster"))}, nil
	}
	var env four
	env.words = envWords
	for i, word := range envWords {
		env.values[i] = a.getenv(word)
	}
	if err := env.check(); err != nil {
		return foundKeys{}, err
	}
	find := func(ctx context.Context) (awscreds.Credentials, error) {
		return awscreds.Resolver{Getenv: a.getenv}.Resolve(ctx, region)
	}
	found, err := find(ctx)
	if fault.Code(err) == awscreds.CodeNone {
		return a.askKeys(ctx, yes, err)
	}
	if err != nil {
		return foundKeys{}, err
	}
	a.note("using aws access key id %s from %s (--aws-key and --aws-secret are others)", found.Found.AccessKeyID, found.Found.Source)
	return foundKeys{find: find}, nil
}

// askKeys asks for credentials on a terminal; none is what was found otherwise.
func (a *app) askKeys(ctx context.Context, yes bool, none error) (foundKeys, error) {
	if _, asks := terminal(a.streams.In); yes || !asks {
		return foundKeys{}, none
	}
	id, err := a.ask(ctx, "aws access key id:", false)
	if err != nil {
		return foundKeys{}, err
	}
	secret, err := a.ask(ctx, "aws secret access key:", true)
	if err != nil {
		return foundKeys{}, err
	}
	if id == "" || secret == "" {
		return foundKeys{}, fault.New(fault.Usage, "cli.incomplete_credentials", "an aws access key id and its secret access key go together")
	}
	typed := cachedKeys{id, awscreds.Hide(secret)}
	return foundKeys{always(typed.credentials("what was typed")), &typed}, nil
}

// keysPath is where the credentials of a cluster are remembered, as in releases 0.20 to
// 0.30. They stay when the cluster is taken away.
func (a *app) keysPath(name, region string) string {
	return filepath.Join(a.configDir, "credentials", region+"-"+name+".json")
}

func (a *app) cachedKeys(name, region string) (*cachedKeys, error) {
	path := a.keysPath(name, region)
	data, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	c := &cachedKeys{}
	if err == nil {
		err = json.Unmarshal(data, c)
	}
	if err != nil || c.ID == "" || c.Secret.Text() == "" {
		return nil, fault.New(fault.Invalid, "cli.credentials_cache", "%s cannot be read as credentials", path).WithHint("remove the file")
	}
	return c, nil
}

// cacheKeys remembers a pair that was given by hand and that AWS has accepted.
func (a *app) cacheKeys(k foundKeys, name, region string) error {
	if k.typed == nil {
		return nil
	}
	path := a.keysPath(name, region)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	data, err := json.Marshal(k.typed)
	if err != nil {
		return err
	}
	return atomicfile.Replace(path, data)
}
