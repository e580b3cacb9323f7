package nats

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	natsgo "github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"cortex.dev/cortex/internal/fault"
	"cortex.dev/cortex/internal/store"
)

// What replicas share: one bucket of values, and one stream in which a claim is a
// message that the server drops when its time is over.
const (
	bucketShared = "shared"
	streamShared = "KV_" + bucketShared
	prefixShared = "$KV." + bucketShared + "."
	streamClaims = "claims"
	prefixClaims = "claims."
)

// legalKey is what claims and values may be called: one token of a subject.
var legalKey = pattern(fmt.Sprintf(`^[A-Za-z0-9_-]{1,%d}$`, store.MaxKey))

var _ store.Shared = (*Store)(nil)

// sharedValue is a value as it is written. The braces of JSON let inspect see
// where a record is divided.
type sharedValue struct {
	Value []byte `json:"value"`
}

// createShared makes the bucket and the stream, or finds them.
func (ss *session) createShared(ctx context.Context, cfg Config) error {
	if _, err := ss.js.CreateOrUpdateKeyValue(ctx, jetstream.KeyValueConfig{
		Bucket: bucketShared, Storage: jetstream.FileStorage, History: 1, Replicas: cfg.Replicas,
		Description: "small values that replicas of the operator share",
	}); err != nil {
		return err
	}
	if _, err := ss.js.CreateOrUpdateStream(ctx, jetstream.StreamConfig{
		Name: streamClaims, Subjects: []string{prefixClaims + "*"},
		Description: "what a replica of the operator has taken for itself",
		Storage:     jetstream.FileStorage, Replicas: cfg.Replicas,
		MaxAge: store.MaxClaim, AllowMsgTTL: true,
		// A claim that was forgotten for a new one would be given twice.
		MaxMsgs: cfg.claims, Discard: jetstream.DiscardNew,
	}); err != nil {
		return fmt.Errorf("stream %s: %w", streamClaims, err)
	}
	return nil
}

// Claim takes key for ttl.
func (s *Store) Claim(ctx context.Context, key string, ttl time.Duration) error {
	if !legalKey().MatchString(key) {
		return illegalKey(key)
	}
	if ttl <= 0 || ttl > store.MaxClaim {
		return fault.New(fault.Invalid, "store.illegal_ttl", "%v is no time for a claim: above 0, at most %v", ttl, store.MaxClaim)
	}
	ss, ctx, done, err := s.begin(ctx, 0, reserveGrow)
	if err != nil {
		return err
	}
	defer done()
	seconds := (ttl + time.Second - 1).Truncate(time.Second)
	_, err = ss.js.Publish(ctx, prefixClaims+key, nil, jetstream.WithExpectLastSequencePerSubject(0), jetstream.WithMsgTTL(seconds))
	switch {
	case isConflict(err):
		return fault.New(fault.Conflict, "store.already_claimed", "%s is claimed already", key)
	case isFull(err):
		return fault.New(fault.Unavailable, "store.claims_full", "there are %d claims, the most that there may be", s.cfg.claims).
			WithHint("try again in a moment: claims end by themselves")
	case err != nil:
		return s.failure(ctx, "claiming "+key, err)
	}
	return nil
}

// isFull reports whether a stream refused a message because it keeps what it has.
func isFull(err error) bool {
	return err != nil && strings.Contains(err.Error(), "maximum messages exceeded")
}

// Value returns a small named value.
func (s *Store) Value(ctx context.Context, name string) ([]byte, store.Version, error) {
	if !legalKey().MatchString(name) {
		return nil, 0, illegalKey(name)
	}
	ss, ctx, done, err := s.begin(ctx, 0, 0)
	if err != nil {
		return nil, 0, err
	}
	defer done()
	m, err := s.newest(ctx, ss, streamShared, prefixShared+name)
	if err != nil {
		return nil, 0, s.failure(ctx, "reading "+name, err)
	}
	if m.sequence == 0 || m.operation != "" {
		return nil, 0, nil
	}
	var v sharedValue
	if err := json.Unmarshal(m.data, &v); err != nil || v.Value == nil {
		return nil, 0, fault.New(fault.Unavailable, "store.corrupt", "the value %s in %s cannot be read: %v", name, s.cfg.place(), err).
			WithHint("was it written by a newer version?")
	}
	return v.Value, store.Version(m.sequence), nil
}

// SetValue writes a value if it is still at a version.
func (s *Store) SetValue(ctx context.Context, name string, data []byte, at store.Version) (store.Version, error) {
	if !legalKey().MatchString(name) {
		return 0, illegalKey(name)
	}
	if len(data) > store.MaxValue {
		return 0, fault.New(fault.Invalid, "store.too_large", "%s takes %d bytes, more than the %d that one value may take", name, len(data), store.MaxValue)
	}
	if data == nil {
		data = []byte{} // null would read as none
	}
	text, err := json.Marshal(sharedValue{Value: data})
	if err != nil {
		return 0, fmt.Errorf("writing %s: %w", name, err)
	}
	ss, ctx, done, err := s.begin(ctx, len(text), reserveGrow)
	if err != nil {
		return 0, err
	}
	defer done()
	ack, err := ss.js.Publish(ctx, prefixShared+name, text, jetstream.WithExpectLastSequencePerSubject(uint64(at)))
	if isConflict(err) {
		return 0, conflict(name)
	}
	if err != nil {
		return 0, s.failure(ctx, "writing "+name, err)
	}
	return store.Version(ack.Sequence), nil
}

// newest asks the leader of a stream for the last message of a subject; the copies
// that answer faster may be behind. Sequence 0 says that there is none.
func (s *Store) newest(ctx context.Context, ss *session, stream, subject string) (message, error) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	request, err := json.Marshal(map[string]string{"last_by_subj": subject})
	if err != nil {
		return message{}, err
	}
	answer, err := ss.conn.RequestWithContext(ctx, "$JS.API.STREAM.MSG.GET."+stream, request)
	if err != nil {
		return message{}, err
	}
	var got struct {
		Error   *jetstream.APIError `json:"error"`
		Message *struct {
			Sequence uint64 `json:"seq"`
			Header   []byte `json:"hdrs"`
			Data     []byte `json:"data"`
		} `json:"message"`
	}
	switch err := json.Unmarshal(answer.Data, &got); {
	case err != nil:
		return message{}, err
	case got.Error != nil && got.Error.ErrorCode == jetstream.JSErrCodeMessageNotFound:
		return message{}, nil
	case got.Error != nil:
		return message{}, got.Error
	case got.Message == nil:
		return message{}, errors.New("the server sent neither a message nor an error")
	}
	m := message{name: lastToken(subject), sequence: got.Message.Sequence, data: got.Message.Data}
	if len(got.Message.Header) > 0 {
		header, err := natsgo.DecodeHeadersMsg(got.Message.Header)
		if err != nil {
			return message{}, err
		}
		m.operation = header.Get(headerOperation)
	}
	return m, nil
}

func illegalKey(key string) error {
	return fault.New(fault.Invalid, "store.illegal_name", "%q cannot be the name of what replicas share", key)
}
