package items

import (
	"strings"
	"testing"

	"cortex.dev/cortex/internal/kube/program"
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
