package objects

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/s3"

	"cortex.dev/cortex/internal/fault"
	"cortex.dev/cortex/internal/mototest"
)

// identity gives the program an AWS identity that S3 is asked with, at an endpoint.
func identity(t *testing.T, endpoint string) {
	t.Helper()
	for name, value := range map[string]string{
		"AWS_ACCESS_KEY_ID": "AKIAIOSFODNN7EXAMPLE", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_REGION": "us-east-1", "AWS_ENDPOINT_URL_S3": endpoint,
		"AWS_PROFILE": "", "AWS_CONFIG_FILE": "/dev/null", "AWS_SHARED_CREDENTIALS_FILE": "/dev/null", "AWS_MAX_ATTEMPTS": "1",
	} {
		t.Setenv(name, value)
	}
}

// The independent S3 that these tests are held against.
func TestReadsWhatMotoHas(t *testing.T) {
	identity(t, mototest.Start(t))
	ctx := t.Context()
	r := New()
	client, err := r.client(ctx, "items")
	if err != nil {
		t.Fatal(err)
	}
	bucket := "items"
	if _, err := client.CreateBucket(ctx, &s3.CreateBucketInput{Bucket: &bucket}); err != nil {
		t.Fatal(err)
	}
	put := func(key, text string) {
		t.Helper()
		if _, err := client.PutObject(ctx, &s3.PutObjectInput{Bucket: &bucket, Key: &key, Body: strings.NewReader(text)}); err != nil {
			t.Fatal(err)
		}
	}
	var want []string
	for i := range 1100 { // more than a page
		key := fmt.Sprintf("many/%04d.json", i)
		want = append(want, key)
		put(key, "{}")
	}
	put("many/", "") // what the console makes of a folder
	put("text", "0123456789")
	list := func(prefix string, most int) (keys []string, err error) {
		return keys, r.List(ctx, bucket, prefix, func(key string) bool {
			keys = append(keys, key)
			return len(keys) < most
		})
	}
	if keys, err := list("many/", 10_000); !slices.Equal(keys, want) || err != nil {
		t.Errorf("List() has %d keys, %v; want the %d that were put, in order", len(keys), err, len(want))
	}
	if keys, err := list("", 3); len(keys) != 3 || err != nil {
		t.Errorf("List() goes on after it was told to stop: %q, %v", keys, err)
	}
	if keys, err := list("never/", 10); len(keys) != 0 || err != nil {
		t.Errorf("List() of nothing has %q, %v", keys, err)
	}
	for from, want := range map[int64]string{0: "0123456789", 7: "789", 10: ""} {
		f, err := r.Open(ctx, bucket, "text", from)
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(f)
		if string(got) != want || err != nil {
			t.Errorf("from byte %d there is %q, %v; want %q", from, got, err, want)
		}
		_ = f.Close()
	}
	if _, err := r.Open(ctx, bucket, "nothing", 0); fault.Code(err) != CodeMissing {
		t.Errorf("Open() of nothing = %v", err)
	}
	if err := r.List(ctx, "no-such-bucket", "", func(string) bool { return true }); fault.Code(err) != CodeMissing {
		t.Errorf("List() of no bucket = %v", err)
	}
}

// A bucket of another region is asked for there, from then on.
func TestBucketElsewhere(t *testing.T) {
	var mu sync.Mutex
	var asked []string
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, scope, _ := strings.Cut(r.Header.Get("Authorization"), "Credential=")
		region := strings.Split(scope, "/")[2]
		mu.Lock()
		asked = append(asked, region)
		mu.Unlock()
		if region != "eu-west-1" {
			w.Header().Set("X-Amz-Bucket-Region", "eu-west-1")
			w.WriteHeader(http.StatusMovedPermanently)
			fmt.Fprint(w, `<Error><Code>PermanentRedirect</Code><Message>elsewhere</Message></Error>`)
			return
		}
		fmt.Fprint(w, `<ListBucketResult><IsTruncated>false</IsTruncated><Contents><Key>a</Key></Contents></ListBucketResult>`)
	}))
	defer server.Close()
	identity(t, server.URL)
	r := New()
	for range 2 {
		var keys []string
		if err := r.List(t.Context(), "far", "", func(key string) bool { keys = append(keys, key); return true }); err != nil || !slices.Equal(keys, []string{"a"}) {
			t.Fatalf("List() has %q, %v", keys, err)
		}
	}
	if want := []string{"us-east-1", "eu-west-1", "eu-west-1"}; !slices.Equal(asked, want) {
		t.Errorf("it was asked in %q, want %q", asked, want)
	}
}

// What may come right by itself is told from what does not.
func TestWhatIsWrong(t *testing.T) {
	status, text := 0, ""
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(status)
		fmt.Fprint(w, text)
	}))
	defer server.Close()
	for _, tt := range []struct {
		status int
		code   string // of S3
		want   string
		kind   fault.Kind
	}{
		{http.StatusForbidden, "AccessDenied", CodeDenied, fault.Invalid},
		{http.StatusNotFound, "NoSuchBucket", CodeMissing, fault.Invalid},
		{http.StatusBadRequest, "InvalidBucketName", "objects.refused", fault.Invalid},
		{http.StatusServiceUnavailable, "SlowDown", "objects.unavailable", fault.Unavailable},
		{http.StatusInternalServerError, "InternalError", "objects.unavailable", fault.Unavailable},
	} {
		identity(t, server.URL)
		status, text = tt.status, "<Error><Code>"+tt.code+"</Code><Message>so it is</Message></Error>"
		err := New().List(t.Context(), "items", "a/", func(string) bool { return true })
		if fault.Code(err) != tt.want || !fault.Is(err, tt.kind) || !strings.Contains(err.Error(), "s3://items/a/") {
			t.Errorf("%d %s: List() = %v (%s), want %s", tt.status, tt.code, err, fault.Code(err), tt.want)
		}
	}
	server.Close()
	if err := New().List(t.Context(), "items", "", func(string) bool { return true }); !fault.Is(err, fault.Unavailable) {
		t.Errorf("List() of nobody = %v, want that it is away", err)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(errors.New("no more"))
	if err := New().List(ctx, "items", "", func(string) bool { return true }); err == nil || err.Error() != "no more" {
		t.Errorf("List() = %v after its context ended", err)
	}
	identity(t, server.URL)
	t.Setenv("AWS_ACCESS_KEY_ID", "")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "")
	t.Setenv("AWS_EC2_METADATA_DISABLED", "true")
	if err := New().List(t.Context(), "items", "", func(string) bool { return true }); fault.Code(err) != CodeNoKeys {
		t.Errorf("List() without credentials = %v, want that there are none", err)
	}
}
