package awstest

import (
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"
)

// Options say what kind of account it is. The zero value is one in us-west-2.
type Options struct {
	Account string   // 12 digits
	Region  string   // the one in which everything happens
	Zones   []string // names; by default four of the region
	// Speed is how fast time goes for what AWS does: with 60 a minute is a second. 0 is 1.
	Speed float64
	// Seed varies the ids.
	Seed uint64
	// PageSize is how many things a list shows at once, where AWS may choose; by default
	// 2, so that nobody forgets that there are more.
	PageSize int
	// Propagation is how long IAM needs until other services know what has changed; by
	// default 8 seconds.
	Propagation time.Duration
	// OptedOut is a region that the account has not switched on.
	OptedOut bool
	// Quotas replace limits of the account, by code.
	Quotas map[string]float64
	// Scarce are instance types of which there are no instances to be had.
	Scarce []string
	// LeakedInterfaces has what the CNI makes for pods left over for good when nodes end.
	LeakedInterfaces bool
	// Outside is a Kubernetes that stands for the clusters of EKS, when there is one.
	Outside Outside
}

// Account is an account of AWS in one region. Its methods may be called at once.
type Account struct {
	id, region, partition, suffix string
	o                             Options
	zones                         []zone

	mu     sync.Mutex
	clock  clock
	random *rand.Rand
	calls  []Call
	made   map[string]int
	faults []*faultState

	identities map[string]*principal // by access key id
	iam        iamState
	ec2        ec2State
	cfn        cfnState
	eks        eksState
	elb        elbState
	asg        asgState
	s3         s3State
	logs       logsState
	sqs        sqsState
	acm        acmState
}

type zone struct{ name, id string }

// New returns an account with nothing in it but what every account has. It starts
// nothing.
func New(o Options) *Account {
	if o.Account == "" {
		o.Account = "111122223333"
	}
	if o.Region == "" {
		o.Region = "us-west-2"
	}
	if o.PageSize == 0 {
		o.PageSize = 2
	}
	if o.Propagation == 0 {
		o.Propagation = 8 * time.Second
	}
	a := &Account{
		id: o.Account, region: o.Region, o: o, made: map[string]int{}, identities: map[string]*principal{},
		random: rand.New(rand.NewPCG(o.Seed, 0x636f72746578)),
	}
	a.partition, a.suffix = partitionOf(o.Region)
	a.clock = newClock(o.Speed)
	a.zones = zonesOf(o)
	a.iam = newIAM()
	a.ec2 = ec2State{records: map[string]*record{}}
	a.cfn = cfnState{sets: map[string]*changeSet{}, detections: map[string]object{}}
	a.eks = eksState{clusters: map[string]*eksCluster{}, imagesOf: firstImages, images: map[string]handedImage{}}
	a.elb = elbState{}
	a.asg = asgState{groups: map[string]*asgGroup{}}
	a.s3 = s3State{buckets: map[string]*bucket{}}
	a.logs = logsState{groups: map[string]*logGroup{}}
	a.sqs = sqsState{queues: map[string]*queue{}}
	a.acm = acmState{certificates: map[string]object{}}
	return a
}

// partitionOf returns the partition of a region, and what its host names end in.
func partitionOf(region string) (name, suffix string) {
	switch {
	case strings.HasPrefix(region, "cn-"):
		return "aws-cn", "amazonaws.com.cn"
	case strings.HasPrefix(region, "us-gov-"):
		return "aws-us-gov", "amazonaws.com"
	case strings.HasPrefix(region, "eusc-"):
		return "aws-eusc", "amazonaws.eu"
	}
	return "aws", "amazonaws.com"
}

// zonesOf are the zones of an account. Names are each account's own, so that the ids are
// in another order.
func zonesOf(o Options) []zone {
	names := o.Zones
	if len(names) == 0 {
		for _, letter := range []string{"a", "b", "c", "d"} {
			names = append(names, o.Region+letter)
		}
	}
	parts := strings.Split(o.Region, "-")
	short := parts[0]
	for _, p := range parts[1:] {
		short += p[:1]
	}
	ids := []string{"2", "1", "3", "4", "5", "6"}
	var all []zone
	for i, name := range names {
		all = append(all, zone{name, short + "-az" + ids[i%len(ids)]})
	}
	return all
}

func (a *Account) zone(name string) (zone, bool) {
	i := slices.IndexFunc(a.zones, func(z zone) bool { return z.name == name })
	if i < 0 {
		return zone{}, false
	}
	return a.zones[i], true
}

// arn is an ARN of this account and region.
func (a *Account) arn(service, what string) string {
	return "arn:" + a.partition + ":" + service + ":" + a.region + ":" + a.id + ":" + what
}

// iamARN is an ARN of IAM, which has no region.
func (a *Account) iamARN(what string) string {
	return "arn:" + a.partition + ":iam::" + a.id + ":" + what
}

const hexDigits, idLetters = "0123456789abcdef", "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"

func (a *Account) letters(alphabet string, n int) string {
	b := make([]byte, n)
	for i := range b {
		b[i] = alphabet[a.random.IntN(len(alphabet))]
	}
	return string(b)
}

// newID is an id such as EC2 gives.
func (a *Account) newID(prefix string) string { return prefix + "-" + a.letters(hexDigits, 17) }

func (a *Account) uuid() string {
	h := a.letters(hexDigits, 32)
	return h[:8] + "-" + h[8:12] + "-" + h[12:16] + "-" + h[16:20] + "-" + h[20:]
}

// Call is one call that was made to the account.
type Call struct {
	At        time.Time
	Service   string // as in policies: iam, elasticloadbalancing
	Action    string // the permission that it needs: CreateRole
	Resources []string
	Principal string // ARN
	// Implied is a call that CloudFormation made for the principal, or a permission that
	// the handler of a resource declares.
	Implied bool
	Result  string // "" or the code of the error
	// Context are the condition keys that the call had.
	Context map[string]string
}

// maxCalls bounds what is remembered; a test that makes more has gone wrong.
const maxCalls = 1 << 20

func (a *Account) note(c Call) {
	if len(a.calls) >= maxCalls {
		panic("awstest: more calls than any test can want")
	}
	c.At = a.clock.now
	a.calls = append(a.calls, c)
}

// Calls returns every call so far.
func (a *Account) Calls() []Call {
	defer a.locked()()
	return slices.Clone(a.calls)
}

// Made counts what was ever made, by kind such as vpc, stack or role.
func (a *Account) Made() map[string]int {
	defer a.locked()()
	return maps.Clone(a.made)
}

// Now is what time it is in the account.
func (a *Account) Now() time.Time {
	defer a.locked()()
	return a.clock.now
}

// locked locks the account, with everything done that has fallen due.
func (a *Account) locked() (unlock func()) {
	a.mu.Lock()
	a.clock.catchUp()
	return a.mu.Unlock
}
