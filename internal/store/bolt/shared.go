package bolt

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"time"

	"cortex.dev/cortex/internal/fault"
	"cortex.dev/cortex/internal/store"
)

// legalKey is what claims and values may be called.
var legalKey = pattern(fmt.Sprintf(`^[A-Za-z0-9_-]{1,%d}$`, store.MaxKey))

// Claim takes key for ttl. Claims that are over go with the next one.
func (s *Store) Claim(ctx context.Context, key string, ttl time.Duration) error {
	if !legalKey().MatchString(key) {
		return illegalKey(key)
	}
	if ttl <= 0 || ttl > store.MaxClaim {
		return fault.New(fault.Invalid, "store.illegal_ttl", "a claim cannot last %v: above 0, at most %v", ttl, store.MaxClaim)
	}
	ttl = (ttl + time.Second - 1).Truncate(time.Second)
	return s.update(ctx, "claiming "+key, 0, reserveGrow, func(t *txn) error {
		now := time.Now()
		if err := s.dropClaims(t, now); err != nil {
			return err
		}
		old, err := t.get(keyClaim + key)
		switch {
		case err != nil:
			return err
		case old != nil && !isOver(old, now):
			return refusal{fault.New(fault.Conflict, "store.already_claimed", "%s is claimed already", key)}
		case old != nil:
			t.Claims--
			if err := t.removeAll([]string{keyEnd + string(old) + key}); err != nil {
				return err
			}
		case t.Claims >= s.cfg.claims:
			return refusal{fault.New(fault.Unavailable, "store.claims_full", "there are %d claims, the most that there may be", t.Claims).
				WithHint("try again in a moment: claims end by themselves")}
		}
		end := number(uint64(now.Add(ttl).UnixNano()))
		t.Claims++
		if err := t.put(keyEnd+end+key, []byte{}); err != nil {
			return err
		}
		return t.put(keyClaim+key, []byte(end))
	})
}

// isOver reports whether an end, as claims have it, has passed.
func isOver(end []byte, now time.Time) bool {
	return len(end) >= 8 && binary.BigEndian.Uint64(end) <= uint64(now.UnixNano())
}

// dropClaims forgets the claims that are over. This is also kept when the claim that
// caused it is refused. It forgets nothing before this process is as old as the longest
// claim, by a clock that nobody can set: restarted while the clock is ahead, it would
// forget claims whose time has not passed, and what they are of could be used once more
// when the clock is right again.
func (s *Store) dropClaims(t *txn, now time.Time) error {
	if now.Sub(s.opened) < s.cfg.settle {
		return nil
	}
	var over []string
	if err := t.scan(keyEnd, keyEnd, func(key, _ []byte) (bool, error) {
		end := key[len(keyEnd):]
		if !isOver(end, now) {
			return false, nil
		}
		over = append(over, string(key), keyClaim+string(end[8:]))
		return true, nil
	}); err != nil {
		return err
	}
	t.Claims -= len(over) / 2
	return t.removeAll(over)
}

// Value returns a small named value.
func (s *Store) Value(_ context.Context, name string) (value []byte, at store.Version, _ error) {
	if !legalKey().MatchString(name) {
		return nil, 0, illegalKey(name)
	}
	err := s.view(func(r *reader) error {
		data, err := r.get(keyValue + name)
		if err != nil || data == nil {
			return err
		}
		if at = version(data); at == 0 {
			return corrupt(s.path, "the value %s is too short", name)
		}
		value = bytes.Clone(data[8:])
		return nil
	})
	return value, at, err
}

// SetValue writes a value if it is still at a version.
func (s *Store) SetValue(ctx context.Context, name string, data []byte, at store.Version) (written store.Version, _ error) {
	if !legalKey().MatchString(name) {
		return 0, illegalKey(name)
	}
	if len(data) > store.MaxValue {
		return 0, fault.New(fault.Invalid, "store.too_large", "%s takes %d bytes, more than the %d that one value may take", name, len(data), store.MaxValue)
	}
	err := s.update(ctx, "writing "+name, len(data), reserveGrow, func(t *txn) (err error) {
		written, err = t.replace(keyValue+name, name, at, data)
		return err
	})
	if err != nil {
		return 0, err
	}
	return written, nil
}

func illegalKey(key string) error {
	return fault.New(fault.Invalid, "store.illegal_name", "%q cannot be the name of what replicas share", key)
}
