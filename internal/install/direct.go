package install

import (
	"context"
	"net/http"
	"sync"
	"time"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/tools/clientcmd/api"
)

// Server is an API server that is reached without a kubeconfig: with a token that proves
// an identity anew whenever the last one is about to expire.
type Server struct {
	Name      string
	URL       string
	Authority []byte // PEM
	Token     func(ctx context.Context) (text string, expires time.Time, err error)
}

// loader is the server as a kubeconfig says it, without who asks.
func (s *Server) loader(overrides *clientcmd.ConfigOverrides) clientcmd.ClientConfig {
	config := api.NewConfig()
	config.Clusters[s.Name] = &api.Cluster{Server: s.URL, CertificateAuthorityData: s.Authority}
	config.Contexts[s.Name] = &api.Context{Cluster: s.Name}
	config.CurrentContext = s.Name
	return clientcmd.NewDefaultClientConfig(*config, overrides)
}

// prove has every request carry a token.
func (s *Server) prove(config *rest.Config) {
	config.Wrap(func(next http.RoundTripper) http.RoundTripper { return &prover{server: s, next: next} })
}

// prover puts a token on requests.
type prover struct {
	server *Server
	next   http.RoundTripper

	mu      sync.Mutex
	text    string
	expires time.Time
}

// spare is how long before its end a token is not used any more.
const spare = time.Minute

func (p *prover) RoundTrip(r *http.Request) (*http.Response, error) {
	text, err := p.token(r.Context())
	if err != nil {
		return nil, err
	}
	signed := r.Clone(r.Context())
	signed.Header.Set("Authorization", "Bearer "+text)
	return p.next.RoundTrip(signed)
}

func (p *prover) token(ctx context.Context) (string, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.text != "" && time.Until(p.expires) > spare {
		return p.text, nil
	}
	text, expires, err := p.server.Token(ctx)
	if err != nil {
		return "", err
	}
	p.text, p.expires = text, expires
	return text, nil
}
