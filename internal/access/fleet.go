package access

import (
	"cmp"
	"maps"
	"slices"
	"sync"
	"time"
)

// Use is what one caller, one address or all together took of one limit at one gateway.
type Use struct {
	API   string `json:"api"`
	Limit string `json:"limit"`
	Who   string `json:"who,omitempty"`
	// Taken is how many requests were let in since the use before, of a rate or a quota. What
	// is Kept is told again until it was heard.
	Taken int64 `json:"taken,omitempty"`
	Kept  bool  `json:"kept,omitempty"`
	// Of requests at once: how many there may be, how many there are, and how many were
	// refused since.
	Most    int64 `json:"most,omitempty"`
	Running int64 `json:"running,omitempty"`
	Refused int64 `json:"refused,omitempty"`
}

// Share is what a gateway is told of a limit: what others have taken of it, or how many
// requests at once it may let in itself.
type Share struct {
	API   string `json:"api"`
	Limit string `json:"limit"`
	Who   string `json:"who,omitempty"`
	Taken int64  `json:"taken,omitempty"`
	Most  *int64 `json:"most,omitempty"`
}

// Bounds of what gateways tell and are told. What is past them is told the next time, or
// forgotten to the good of the callers.
const (
	MaxUses = 5_000 // in one report, and of shares in an answer
	maxOwed = 50_000
)

// silence is after how long a gateway that reports each second is not counted any more.
const silence = 3 * time.Second

// turn is for how long the same gateways have the places that cannot be divided.
const turn = 5 * time.Second

// Fleet adds up what gateways report of limits, so that one limit holds at all of them.
// Its methods may be called at once.
//
// Of rates and quotas each is told what the others took, and takes it off. Of requests at
// once, while there is room for all that are asked for, each may have what the others leave;
// when there is not, each has its fair share, and no more than is left of what the others
// still have. It decides by what it is told alone, and by the time that it is given.
type Fleet struct {
	mu      sync.Mutex
	members map[string]*member
}

// member is one gateway.
type member struct {
	at   time.Time
	owed map[of]int64 // what others took and it was not told
	sent map[of]int64 // what of that it was told last
	here map[of]Use   // its requests at once, as of its latest report
	told map[of]int64 // how many of those it may have, as it was told
}

type of struct{ api, limit, who string }

// NewFleet knows of no gateway.
func NewFleet() *Fleet { return &Fleet{members: map[string]*member{}} }

// Heard takes what a gateway used since its report before, and returns what it is told. Again
// says that the report is the one before, whose answer it did not hear.
func (f *Fleet) Heard(gateway string, uses []Use, again bool, now time.Time) []Share {
	f.mu.Lock()
	defer f.mu.Unlock()
	for name, m := range f.members {
		if now.Sub(m.at) > silence {
			delete(f.members, name)
		}
	}
	m := f.members[gateway]
	if m == nil {
		m = &member{owed: map[of]int64{}, told: map[of]int64{}}
		f.members[gateway] = m
	}
	m.at, m.here = now, map[of]Use{}
	for _, u := range uses {
		key := of{u.API, u.Limit, u.Who}
		if u.Most > 0 {
			m.here[key] = u
			continue
		}
		if again {
			continue
		}
		for name, other := range f.members {
			if _, known := other.owed[key]; name != gateway && u.Taken > 0 && (known || len(other.owed) < maxOwed) {
				other.owed[key] += u.Taken
			}
		}
	}
	if again {
		for key, n := range m.sent {
			m.owed[key] += n
		}
	}
	m.sent = map[of]int64{}
	shares := f.shares(gateway, m, now)
	for key, n := range m.owed {
		if len(shares) >= MaxUses {
			break
		}
		shares = append(shares, Share{API: key.api, Limit: key.limit, Who: key.who, Taken: n})
		m.sent[key] = n
		delete(m.owed, key)
	}
	return shares
}

// shares says how many requests at once a gateway may have, of each limit of which any has
// some.
func (f *Fleet) shares(gateway string, m *member, now time.Time) (shares []Share) {
	most := map[of]int64{}
	for _, member := range f.members {
		for key, u := range member.here {
			most[key] = max(most[key], u.Most)
		}
	}
	names := slices.Sorted(maps.Keys(f.members))
	m.told = map[of]int64{}
	for key, n := range most {
		if len(shares) >= MaxUses {
			break
		}
		share := f.share(names, gateway, key, n, now)
		m.told[key] = share
		shares = append(shares, Share{API: key.api, Limit: key.limit, Who: key.who, Most: &share})
	}
	return shares
}

// share is how many of most requests at once a gateway may have.
func (f *Fleet) share(names []string, gateway string, key of, most int64, now time.Time) int64 {
	var wanted, running, held int64
	wants := make([]int64, len(names))
	own := 0
	for i, name := range names {
		u := f.members[name].here[key]
		wants[i] = u.Running + u.Refused
		wanted += wants[i]
		if name == gateway {
			own = i
			continue
		}
		running += u.Running
		held += max(u.Running, f.members[name].told[key])
	}
	if wanted <= most {
		return max(most-running, 0)
	}
	return max(min(fair(most, wants, int(now.Unix()/int64(turn/time.Second)))[own], most-held), 0)
}

// fair divides n among those who want some: nobody has more than they want while another has
// less than they do, but for what cannot be divided, which goes in turns.
func fair(n int64, wants []int64, turn int) []int64 {
	has := make([]int64, len(wants))
	order := make([]int, len(wants))
	for i := range order {
		order[i] = i
	}
	slices.SortFunc(order, func(a, b int) int {
		return cmp.Or(cmp.Compare(wants[a], wants[b]), cmp.Compare((a+turn)%len(wants), (b+turn)%len(wants)))
	})
	for k, i := range order {
		has[i] = min(wants[i], n/int64(len(order)-k))
		n -= has[i]
	}
	return has
}
