package proxymetrics

import "cortex.dev/cortex/internal/relay"

// Observer counts what a relay does: in the Series that of names, or in none.
func Observer(of func(*relay.Exchange) *Series, none *Series) relay.Observer {
	return observer{of, none}
}

type observer struct {
	of   func(*relay.Exchange) *Series
	none *Series
}

func (observer) Began(*relay.Exchange) {}

func (observer) Answering(*relay.Exchange) {}

func (o observer) Ended(x *relay.Exchange, status int, reason string) {
	o.of(x).Count(status, reason, x.Placed(), x.Age())
}

func (o observer) Unread(status int, reason string) { o.none.Count(status, reason, false, 0) }
