package items

import (
	"context"
	"log/slog"
	"strings"
	"testing"

	"cortex.dev/cortex/internal/kube/program"
	"cortex.dev/cortex/internal/ledger"
	"cortex.dev/cortex/internal/ledger/ledgertest"
	"cortex.dev/cortex/internal/ledger/s3/s3test"
)

// What is no place for items is refused before anything runs.
func TestSettings(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		flags, wrong string
		bucket       bool
	}{
		{"", "", false},
		{"--items nats://a:4222", "", false},
		{"--items s3://my-items --items-region eu-west-1", "", true},
		{"--items s3://my.items/uid/b --items-region us-gov-west-1 --items-queues cx-0a-", "", true},
		{"--items http://a", "is not nats://host:port, tls://host:port or s3://BUCKET/PREFIX", false},
		{"--items s3://my-items", "is no region of AWS", true},
		{"--items s3:// --items-region eu-west-1", "is not s3://BUCKET/PREFIX", true},
		{"--items s3://My_Items --items-region eu-west-1", "is not s3://BUCKET/PREFIX", true},
		{"--items s3://u:p@items --items-region eu-west-1", "is not s3://BUCKET/PREFIX", true},
		{"--items s3://items/a//b --items-region eu-west-1", "is not s3://BUCKET/PREFIX", true},
		{"--items s3://items?x --items-region eu-west-1", "is not s3://BUCKET/PREFIX", true},
		{"--items s3://items --items-region eu-west-1 --items-queues a.b", "has other than", true},
	} {
		var s Settings
		f := program.NewFlags("test")
		s.Flags(f)
		if err := f.Parse(strings.Fields(tt.flags)); err != nil {
			t.Fatal(err)
		}
		s.Check(f)
		err := f.Fault()
		if tt.wrong == "" && err != nil || tt.wrong != "" && (err == nil || !strings.Contains(err.Error(), tt.wrong)) {
			t.Errorf("%q: %v, want %q", tt.flags, err, tt.wrong)
		}
		if s.InBucket() != tt.bucket {
			t.Errorf("%q: in a bucket: %v", tt.flags, s.InBucket())
		}
	}
}

// Two programs that are told of one bucket have the same items, and hear of each other's
// changes at once.
func TestBucket(t *testing.T) {
	a := s3test.Start(t)
	at := a.Serve(t)
	for name, value := range map[string]string{
		"AWS_ACCESS_KEY_ID": "AKID", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_ENDPOINT_URL_S3": at, "AWS_ENDPOINT_URL_SQS": at,
	} {
		t.Setenv(name, value)
	}
	open := func() *Store {
		s, err := Open(Config{Settings: Settings{URL: "s3://" + a.Bucket + "/uid", Region: "us-east-1"}, Log: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	one, other := open(), open()
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 3)
	listening, heard := make(chan struct{}), make(chan ledger.Item, 1)
	go func() { ended <- one.Run(ctx) }()
	go func() {
		ended <- one.Follow(ctx, func() { close(listening) }, func(i ledger.Item) { heard <- i })
	}()
	<-listening
	go func() { ended <- other.Run(ctx) }()
	item, payload := ledgertest.Sample("iris", 1)
	if _, _, err := other.Create(ctx, item, ledger.Key{}, payload); err != nil {
		t.Fatal(err)
	}
	if i := <-heard; i.ID != item.ID {
		t.Errorf("it hears of %s, want %s", i.ID, item.ID)
	}
	if got, err := one.Payload(ctx, "iris", item.ID); string(got) != string(payload) || err != nil {
		t.Errorf("Payload() = %q, %v", got, err)
	}
	stop()
	for range 3 {
		<-ended
	}
}
