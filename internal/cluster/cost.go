package cluster

import (
	_ "embed" // the table of prices
	"fmt"
	"math"
	"strconv"
	"strings"
	"sync"
)

// USD is an amount of money in billionths of a dollar, so that sums are exact.
type USD int64

const dollar USD = 1e9

func dollars(v float64) USD { return USD(math.Round(v * float64(dollar))) }

// String is an amount as people read it.
func (u USD) String() string {
	return "$" + strconv.FormatFloat(float64(u)/float64(dollar), 'f', 4, 64)
}

// MarshalJSON writes an amount as a number of dollars.
func (u USD) MarshalJSON() ([]byte, error) {
	return []byte(strconv.FormatFloat(float64(u)/float64(dollar), 'f', -1, 64)), nil
}

// Cost is what a cluster costs, traffic aside.
type Cost struct {
	PricesOf string     `json:"prices_of"` // the day of the table
	PricesIn string     `json:"prices_in"` // the region of the table
	Lines    []CostLine `json:"lines"`
	Hourly   USD        `json:"usd_an_hour"`
	AtMost   USD        `json:"usd_an_hour_at_most"` // with all groups at their max_instances
	Monthly  USD        `json:"usd_a_month"`
	Unknown  []string   `json:"unknown,omitempty"` // what has no price in the table, and is in no sum
}

// CostLine is one kind of thing that is paid for by the hour.
type CostLine struct {
	What  string `json:"what"`
	Count int64  `json:"count"`
	Most  int64  `json:"count_at_most"`
	Each  *USD   `json:"usd_each_hour,omitempty"` // nil: not known
	Note  string `json:"note,omitempty"`
	// Group is the managed node group of which there is one for each node.
	Group string `json:"node_group,omitempty"`
}

const (
	pricedRegion = "us-east-1"
	hoursAMonth  = 730
)

// Prices in us-east-1, beside those of instances, which are in prices.txt.
const (
	priceControlPlane = dollar / 10
	priceNAT          = dollar * 45 / 1000
	priceBalancer     = dollar * 225 / 10000
	priceAddress      = dollar * 5 / 1000
)

// volumePrice is what a volume costs a month.
type volumePrice struct{ gb, iops, throughput USD }

var volumePrices = map[string]volumePrice{
	gp2: {gb: dollar / 10},
	gp3: {gb: dollar * 8 / 100, iops: dollar * 5 / 1000, throughput: dollar * 4 / 100}, // beyond what is free
	io1: {gb: dollar * 125 / 1000, iops: dollar * 65 / 1000},
}

//go:embed prices.txt
var priceText string

// priceTable holds the prices of instances, and the day of the table.
var priceTable = sync.OnceValue(func() (table struct {
	day    string
	prices map[string]USD
}) {
	table.prices = map[string]USD{}
	for line := range strings.Lines(priceText) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), " ")
		if key == "day" {
			table.day = value
			continue
		}
		if v, err := strconv.ParseFloat(value, 64); err == nil { // comments have none
			table.prices[key] = dollars(v)
		}
	}
	return table
})

// onDemand is the price of an instance type on demand in us-east-1.
func onDemand(name string) (USD, bool) {
	p, ok := priceTable().prices[name]
	return p, ok
}

// What has a price by the hour beside instance types.
const (
	PricedControlPlane = "control plane"
	PricedNAT          = "NAT gateway"
	PricedBalancer     = "load balancer"
	PricedAddress      = "public IPv4 address"
)

// Price is what one of something costs an hour in us-east-1: an instance type, or one of
// the words above. It is nil where that is not known.
func Price(what string) *USD {
	p, known := map[string]USD{
		PricedControlPlane: priceControlPlane, PricedNAT: priceNAT, PricedBalancer: priceBalancer, PricedAddress: priceAddress,
	}[what]
	if !known {
		if p, known = onDemand(what); !known {
			return nil
		}
	}
	return &p
}

// With is what a cluster costs with as many nodes in each managed group as are given.
func (c Cost) With(nodes map[string]int64) Cost {
	now := c
	now.Lines, now.Hourly = nil, 0
	for _, l := range c.Lines {
		if n, known := nodes[l.Group]; known {
			l.Count = n
		}
		if l.Each != nil {
			now.Hourly += *l.Each * USD(l.Count)
		}
		now.Lines = append(now.Lines, l)
	}
	now.Monthly = now.Hourly * hoursAMonth
	return now
}

// volumeHour is what the volume of a node costs an hour.
func volumeHour(g *NodeGroup) USD {
	p := volumePrices[g.VolumeType]
	month := p.gb * USD(g.VolumeSize)
	if g.VolumeIOPS != nil {
		iops := *g.VolumeIOPS
		if g.VolumeType == gp3 {
			iops -= gp3IOPS
		}
		month += p.iops * USD(max(iops, 0))
	}
	if g.VolumeThroughput != nil {
		month += p.throughput * USD(max(*g.VolumeThroughput-gp3Throughput, 0))
	}
	return month / hoursAMonth
}

// cost is what the parts of a cluster cost.
func (b *builder) cost(groups []managed) Cost {
	c := Cost{PricesOf: priceTable().day, PricesIn: pricedRegion}
	group := ""
	add := func(what string, count, most int64, each USD, note string) {
		c.Lines = append(c.Lines, CostLine{what, count, most, &each, note, group})
		c.Hourly += each * USD(count)
		c.AtMost += each * USD(most)
	}
	add("control plane", 1, 1, priceControlPlane, "")
	var nodes, most int64
	for _, m := range groups {
		nodes, most = nodes+m.min, most+m.max
		group = m.name
		// Nobody asks for more nodes of Cortex itself than it begins with, so far.
		if m.name == SystemGroup {
			most = nodes
			m.max = m.min
		}
		what := "nodes " + m.name + ", " + m.types[0]
		if price, note, ok := b.nodePrice(m); ok {
			add(what, m.min, m.max, price, note)
		} else {
			c.Lines = append(c.Lines, CostLine{what, m.min, m.max, nil, "no price is known", group})
			c.Unknown = append(c.Unknown, m.types[0])
		}
		add("volumes of "+m.name+", "+decimal(m.of.VolumeSize)+" GB "+m.of.VolumeType, m.min, m.max, volumeHour(m.of), "")
	}
	group = ""
	add("load balancers", 2, 2, priceBalancer, "and for what passes them")
	gateways := int64(len(b.natZones()))
	if gateways > 0 {
		add("NAT gateways", gateways, gateways, priceNAT, "and for what passes them")
	}
	addresses, mostAddresses := gateways, gateways
	if b.c.SubnetVisibility == Public {
		addresses, mostAddresses = nodes, most
	}
	for _, lb := range b.balancers() {
		if lb.scheme == InternetFacing {
			addresses, mostAddresses = addresses+b.publicZones(), mostAddresses+b.publicZones()
		}
	}
	if mostAddresses > 0 {
		add("public IPv4 addresses", addresses, mostAddresses, priceAddress, "")
	}
	c.Monthly = c.Hourly * hoursAMonth
	return c
}

// nodePrice is what a node of a group costs an hour.
func (b *builder) nodePrice(m managed) (price USD, note string, known bool) {
	price, known = onDemand(m.types[0])
	if !m.spot {
		return price, "", known
	}
	spot, note := price, "spot: at most this, the price on demand"
	if m.mix != nil && m.mix.MaxPrice != nil {
		spot, note = dollars(*m.mix.MaxPrice), "spot: at most this, max_price"
	}
	if now, ok := b.f.SpotPrices[m.types[0]]; ok {
		spot, note = dollars(now), "spot, when the facts were read"
	}
	if m.mix == nil {
		return spot, note, known || spot > 0
	}
	// Of as many nodes as there are first: each line has one price.
	n := max(m.min, 1)
	dear := m.onDemandOf(n)
	if dear > 0 && !known || spot == 0 {
		return 0, "", false
	}
	return (price*USD(dear) + spot*USD(n-dear)) / USD(n), fmt.Sprintf("%d of %d on demand; %s", dear, n, note), true
}

// publicZones is how many zones have a subnet for what faces the internet.
func (b *builder) publicZones() int64 {
	if b.c.OwnNetwork() {
		return int64(len(b.c.publicSubnets(b.f)))
	}
	return int64(len(b.zones))
}
