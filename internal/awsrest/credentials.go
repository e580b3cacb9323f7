package awsrest

import (
	"context"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"sync"
	"time"
)

// Credentials finds the keys of this program where AWS puts them for a pod: in its
// environment, behind a token that its service account has, or at the address that EKS Pod
// Identity or ECS gives out. It keeps them until shortly before they end.
type Credentials struct {
	Getenv func(string) string // nil: os.Getenv
	HTTP   *http.Client
	STS    string // where roles are taken on; empty: AWS's own, of the region
	Region string

	mu   sync.Mutex
	keys Keys
}

// renewBefore is how long before keys end new ones are asked for, and mayFail how long
// before they are used all the same.
const (
	renewBefore = 5 * time.Minute
	mayFail     = 30 * time.Second
	maxAnswer   = 1 << 20
)

// errNoKeys is why nothing can be asked.
var errNoKeys = errors.New("this program has no AWS credentials: give its service account a role (EKS Pod Identity, or the annotation eks.amazonaws.com/role-arn), or set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY")

// Get returns keys that are good now.
func (c *Credentials) Get(ctx context.Context) (Keys, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	left := time.Until(c.keys.Until)
	if c.keys.ID != "" && (c.keys.Until.IsZero() || left > renewBefore) {
		return c.keys, nil
	}
	k, err := c.find(ctx)
	if err != nil {
		if c.keys.ID != "" && left > mayFail {
			return c.keys, nil
		}
		return Keys{}, err
	}
	c.keys = k
	return k, nil
}

// drop has the next Get ask anew: AWS did not take the keys.
func (c *Credentials) drop(k Keys) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.keys == k {
		c.keys = Keys{}
	}
}

func (c *Credentials) env(name string) string {
	if c.Getenv != nil {
		return c.Getenv(name)
	}
	return os.Getenv(name)
}

func (c *Credentials) find(ctx context.Context) (Keys, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	id, secret := c.env("AWS_ACCESS_KEY_ID"), c.env("AWS_SECRET_ACCESS_KEY")
	switch {
	case id != "" && secret != "":
		return Keys{ID: id, Secret: secret, Token: c.env("AWS_SESSION_TOKEN")}, nil
	case id != "" || secret != "":
		return Keys{}, errors.New("of AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY only one is set")
	case c.env("AWS_WEB_IDENTITY_TOKEN_FILE") != "":
		return c.webIdentity(ctx)
	case c.env("AWS_CONTAINER_CREDENTIALS_FULL_URI") != "":
		return c.container(ctx)
	}
	return Keys{}, errNoKeys
}

// identityHosts are who may hear the token of a pod without TLS: the node's own addresses.
var identityHosts = []string{"169.254.170.2", "169.254.170.23", "fd00:ec2::23", "127.0.0.1", "localhost", "::1"}

// container asks the agent of the node.
func (c *Credentials) container(ctx context.Context) (k Keys, _ error) {
	u, err := url.Parse(c.env("AWS_CONTAINER_CREDENTIALS_FULL_URI"))
	if err != nil || u.Scheme != "https" && (u.Scheme != "http" || !slices.Contains(identityHosts, u.Hostname())) {
		return k, errors.New("AWS_CONTAINER_CREDENTIALS_FULL_URI is neither an https address nor one of this node")
	}
	token := c.env("AWS_CONTAINER_AUTHORIZATION_TOKEN")
	if file := c.env("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE"); file != "" {
		if token, err = readToken(file); err != nil {
			return k, err
		}
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return k, err
	}
	if token != "" {
		r.Header.Set("Authorization", token)
	}
	data, err := c.ask(r)
	if err != nil {
		return k, fmt.Errorf("asking the node for AWS credentials: %w", err)
	}
	var said struct {
		AccessKeyID     string `json:"AccessKeyId"`
		SecretAccessKey string
		Token           string
		Expiration      time.Time
	}
	if err := json.Unmarshal(data, &said); err != nil || said.AccessKeyID == "" || said.SecretAccessKey == "" {
		return k, errors.New("what the node says of AWS credentials cannot be read")
	}
	return Keys{said.AccessKeyID, said.SecretAccessKey, said.Token, said.Expiration}, nil
}

// webIdentity takes on the role of the service account.
func (c *Credentials) webIdentity(ctx context.Context) (k Keys, _ error) {
	token, err := readToken(c.env("AWS_WEB_IDENTITY_TOKEN_FILE"))
	if err != nil {
		return k, err
	}
	session := c.env("AWS_ROLE_SESSION_NAME")
	if session == "" {
		session = "cortex"
	}
	at := c.STS
	if at == "" {
		at = endpoint("sts", c.Region)
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, at+"/", strings.NewReader(url.Values{
		"Action": {"AssumeRoleWithWebIdentity"}, "Version": {"2011-06-15"}, "RoleArn": {c.env("AWS_ROLE_ARN")}, "RoleSessionName": {session}, "WebIdentityToken": {token},
	}.Encode()))
	if err != nil {
		return k, err
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	data, err := c.ask(r)
	if err != nil {
		return k, fmt.Errorf("taking on the role %s: %w", c.env("AWS_ROLE_ARN"), err)
	}
	var said struct {
		Credentials struct {
			AccessKeyID     string `xml:"AccessKeyId"`
			SecretAccessKey string
			SessionToken    string
			Expiration      time.Time
		} `xml:"AssumeRoleWithWebIdentityResult>Credentials"`
	}
	if err := xml.Unmarshal(data, &said); err != nil || said.Credentials.AccessKeyID == "" {
		return k, errors.New("what AWS says of the role cannot be read")
	}
	s := said.Credentials
	return Keys{s.AccessKeyID, s.SecretAccessKey, s.SessionToken, s.Expiration}, nil
}

// ask sends what needs no signature.
func (c *Credentials) ask(r *http.Request) ([]byte, error) {
	resp, err := c.HTTP.Do(r)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err == nil && resp.StatusCode != http.StatusOK {
		err = errorOf(resp, data)
	}
	return data, err
}

func readToken(file string) (string, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return "", fmt.Errorf("reading the token of this pod: %w", err)
	}
	return strings.TrimSpace(string(data)), nil
}
