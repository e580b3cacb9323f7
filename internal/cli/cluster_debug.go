package cli

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"cortex.dev/cortex/internal/cluster"
	"cortex.dev/cortex/internal/fault"
	"cortex.dev/cortex/internal/workload"
)

// Bounds of what is kept of one API for whoever looks for what is wrong.
const (
	debugLines = 2000    // of its logs
	debugBytes = 4 << 20 // of one file
	debugAPIs  = 1000
)

// evidence is an archive of what is known about a cluster. What could not be found out is in
// it too, with why: something is wrong with a cluster that one looks into.
type evidence struct {
	tar    *tar.Writer
	at     time.Time
	folder string
	failed []string // what could not be found out
}

// put writes one file; only an archive that cannot be written is an error.
func (e *evidence) put(name string, data []byte, err error) error {
	if err != nil {
		f := fault.From(err)
		e.failed = append(e.failed, strings.TrimSpace(name+": "+f.Message+"\n  "+f.Hint))
		return nil
	}
	if len(data) > debugBytes {
		data = append(data[:debugBytes:debugBytes], "\n… and more\n"...)
	}
	err = e.tar.WriteHeader(&tar.Header{Name: e.folder + "/" + name, Mode: 0o600, Size: int64(len(data)), ModTime: e.at, Typeflag: tar.TypeReg})
	if err == nil {
		_, err = e.tar.Write(data)
	}
	return err
}

// object writes one file of JSON.
func (e *evidence) object(name string, v any, err error) error {
	if err != nil {
		return e.put(name, nil, err)
	}
	data, err := json.MarshalIndent(v, "", "  ")
	return e.put(name, append(data, '\n'), err)
}

// debugCluster writes what is known about a cluster into a file of the working folder.
func (a *app) debugCluster(ctx context.Context, cloud Cloud, s *cluster.Status, now time.Time) (err error) {
	folder := "cortex-debug-" + now.UTC().Format("2006-01-02-15-04-05")
	file, err := os.OpenFile(folder+".tgz", os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return fault.New(fault.Usage, "cli.cannot_write_file", "writing what is known about the cluster: %w", err).WithHint("run the command in a folder that you may write to")
	}
	defer func() {
		if err = errors.Join(err, file.Close()); err != nil {
			_ = os.Remove(folder + ".tgz")
		}
	}()
	a.note("AWS compares the stacks with what there is")
	e := &evidence{at: now, folder: folder}
	if err := a.gather(ctx, e, file, cloud, s); err != nil {
		return fault.New(fault.Unavailable, "cli.cannot_write_file", "writing %s.tgz: %w", folder, err)
	}
	for _, f := range e.failed {
		a.note("not in it: %s", f)
	}
	a.say("wrote %s.tgz; it has no credentials and no values of variables, but what APIs have logged: look through it before you hand it over", folder)
	return nil
}

func (a *app) gather(ctx context.Context, e *evidence, w io.Writer, cloud Cloud, s *cluster.Status) error {
	zipped := gzip.NewWriter(w)
	e.tar = tar.NewWriter(zipped)
	account, caller := cloud.Identity()
	err := e.object("about.json", map[string]string{"version": a.hooks.Version, "account": account, "caller": caller, "at": e.at.UTC().Format(time.RFC3339)}, nil)
	err = errors.Join(err, e.object("cluster.json", s, nil))
	text, told := configText(s, yamlOut)
	err = errors.Join(err, e.put("cluster.yaml", text, told))
	drift, told := cloud.StackDrift(ctx, s.ClusterName)
	err = errors.Join(err, e.object("drift.json", drift, told))
	checks, told := cloud.Health(ctx, s.ClusterName)
	err = errors.Join(err, e.object("health.json", checks, told))
	who, told := cloud.Administrators(ctx, s.ClusterName)
	err = errors.Join(err, e.object("administrators.json", who, told))
	if target, told := a.operatorAt(ctx, s); told != nil {
		err = errors.Join(err, e.put("apis.json", nil, told))
	} else {
		err = errors.Join(err, gatherAPIs(ctx, e, target))
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if len(e.failed) > 0 {
		err = errors.Join(err, e.put("not-known.txt", []byte(strings.Join(e.failed, "\n")+"\n"), nil))
	}
	return errors.Join(err, e.tar.Close(), zipped.Close())
}

// gatherAPIs writes how each API is. Its specification is left out: variables hold passwords.
func gatherAPIs(ctx context.Context, e *evidence, service workload.Service) error {
	apis, told := service.List(ctx)
	var states []any
	for i := range apis {
		states = append(states, map[string]any{"metadata": apis[i].Metadata, "status": apis[i].Status, "endpoint": apis[i].Endpoint})
	}
	err := e.object("apis.json", states, told)
	for i := range apis[:min(len(apis), debugAPIs)] {
		if apis[i].Metadata == nil || !filepath.IsLocal(apis[i].Metadata.Name) || ctx.Err() != nil {
			continue
		}
		name := apis[i].Metadata.Name
		why, told := service.Explain(ctx, name)
		err = errors.Join(err, e.object("apis/"+name+"/explain.json", why, told))
		history, told := service.History(ctx, name)
		err = errors.Join(err, e.object("apis/"+name+"/history.json", history, told))
		var events []workload.Event
		told = service.Events(ctx, workload.EventQuery{Name: name}, func(v workload.Event) error { events = append(events, v); return nil })
		err = errors.Join(err, e.object("apis/"+name+"/events.json", events, told))
		var lines bytes.Buffer
		told = service.Logs(ctx, workload.LogQuery{Name: name, Tail: debugLines}, func(l workload.LogLine) error {
			if lines.Len() <= debugBytes {
				fmt.Fprintf(&lines, "%s %s %s %s\n", l.Time.UTC().Format(time.RFC3339Nano), l.Replica, l.Container, l.Text)
			}
			return nil
		})
		err = errors.Join(err, e.put("apis/"+name+"/logs.txt", lines.Bytes(), told))
	}
	return err
}
