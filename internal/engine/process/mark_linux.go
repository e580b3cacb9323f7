package process

import (
	"bytes"
	"errors"
	"hash/fnv"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// A process inherits its resource limits through fork, exec and setsid, and one that
// goes into the background, empties its environment, writes its title over it (nginx,
// redis, postgres) or closes its files keeps them. One limit means nothing to a process
// without a real-time priority, is unlimited everywhere and set by no program known to
// us: how long it may run in real time without pause, in microseconds. The mark is
// written there as well, as a number of more than a hundred thousand years.
//
// Only the soft limit is used. It may be raised again up to the hard one, so what
// somebody wants with it stays possible, and this program can take its own back.
const (
	rlimitRTTime = 15 // RLIMIT_RTTIME, which x/sys does not name

	markBit       = uint64(1) << 62
	instanceBits  = 28
	lifeBits      = 12
	containerBits = 22
)

// owner says which processes are meant: of one container, of one life of this program,
// or of every life on its state folder.
type owner struct {
	text         []byte // how the mark in their environment begins
	number, mask uint64 // of the mark in their limits
	session      int    // 0: none
}

// ownerOf reads a mark: <instance>.<life>.<container>, or the beginning of one.
func ownerOf(mark string, session int) owner {
	o := owner{text: []byte("\x00" + markName + "=" + mark), session: session, number: markBit, mask: markBit}
	parts := strings.SplitN(mark, ".", 3)
	part := func(i int, shift, bits int, value func(string) uint64) {
		if i < len(parts) && parts[i] != "" {
			ones := uint64(1)<<bits - 1
			o.number |= value(parts[i]) & ones << shift
			o.mask |= ones << shift
		}
	}
	part(0, lifeBits+containerBits, instanceBits, digest)
	part(1, containerBits, lifeBits, digest)
	part(2, 0, containerBits, func(s string) uint64 { n, _ := strconv.ParseUint(s, 10, 64); return n })
	return o
}

// ownSession is the session of this program. Every container has sessions of its own; a
// process in ours is one that this program started for other ends at the very moment
// in which it had the limits of a container (marking), and inherited them.
var ownSession, _ = unix.Getsid(0)

func digest(s string) uint64 {
	h := fnv.New64a()
	_, _ = h.Write([]byte(s))
	return h.Sum64()
}

// marking calls start while this program has the limits of mark, which what it starts
// inherits. Where the limit cannot be set, the mark is in the environment only.
func marking(mark string, start func() error) error {
	var own unix.Rlimit
	if unix.Getrlimit(rlimitRTTime, &own) == nil {
		child := own
		if child.Cur = ownerOf(mark, 0).number; child.Cur <= own.Max && unix.Setrlimit(rlimitRTTime, &child) == nil {
			defer func() { _ = unix.Setrlimit(rlimitRTTime, &own) }()
		}
	}
	return start()
}

// processes lists those that run, this one excepted.
func (o owner) processes() []int {
	dir, err := os.Open("/proc")
	if err != nil {
		return nil
	}
	defer func() { _ = dir.Close() }()
	names, _ := dir.Readdirnames(-1) // what could be read is looked at
	var pids []int
	for _, name := range names {
		pid, err := strconv.Atoi(name)
		if err == nil && pid != os.Getpid() && o.owns(pid) {
			pids = append(pids, pid)
		}
	}
	return pids
}

// owns reports whether a process that runs is one of those meant.
func (o owner) owns(pid int) bool {
	if n, ok := numberOf(pid); ok && n&o.mask == o.number {
		session, runs := sessionOf(pid)
		return runs && session != ownSession
	}
	if raw, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/environ"); err == nil && len(raw) > 0 {
		if bytes.Contains(raw, o.text) || bytes.HasPrefix(raw, o.text[1:]) {
			return true
		}
	}
	if o.session == 0 {
		return false
	}
	session, runs := sessionOf(pid)
	return runs && session == o.session
}

// numberOf reads the mark in the limits of a process.
func numberOf(pid int) (uint64, bool) {
	var limit unix.Rlimit
	err := unix.Prlimit(pid, rlimitRTTime, nil, &limit)
	if err == nil {
		return limit.Cur, limit.Cur != unix.RLIM_INFINITY
	}
	if !errors.Is(err, unix.EPERM) {
		return 0, false
	}
	// It has become another user, as workers of nginx do. The file may be read by all.
	raw, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/limits")
	if err != nil {
		return 0, false
	}
	_, rest, _ := bytes.Cut(raw, []byte("Max realtime timeout"))
	soft, _, _ := strings.Cut(strings.TrimLeft(string(rest), " "), " ")
	n, err := strconv.ParseUint(soft, 10, 64)
	return n, err == nil
}

// sessionOf returns the session of a process, and false when it has ended.
func sessionOf(pid int) (session int, runs bool) {
	// pid (command) state ppid pgrp session …; the command may contain anything.
	raw, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return 0, false
	}
	f := strings.Fields(string(raw[bytes.LastIndexByte(raw, ')')+1:]))
	if len(f) <= 3 || f[0] == "Z" || f[0] == "X" {
		return 0, false
	}
	session, _ = strconv.Atoi(f[3])
	return session, true
}
