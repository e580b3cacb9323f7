package items

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/url"
	"os"
	"strings"

	"cortex.dev/cortex/internal/awsrest"
	"cortex.dev/cortex/internal/ledger/s3"
)

// openBucket has items in a bucket. A simulator, or a store of one's own, is named by the
// variables that AWS's own programs read.
func openBucket(cfg Config) (*Store, error) {
	u, err := url.Parse(cfg.URL)
	if err != nil {
		return nil, fmt.Errorf("reading where items are kept: %w", err)
	}
	prefix := strings.Trim(u.Path, "/")
	queues := cfg.Queues
	if queues == "" {
		sum := sha256.Sum256([]byte(u.Host + "/" + prefix))
		queues = "cx-" + hex.EncodeToString(sum[:4]) + "-"
	}
	if prefix != "" {
		prefix += "/"
	}
	kept := s3.Open(s3.Config{
		Client: awsrest.New(awsrest.Config{Region: cfg.Region, S3: os.Getenv("AWS_ENDPOINT_URL_S3"), SQS: os.Getenv("AWS_ENDPOINT_URL_SQS")}),
		Bucket: u.Host, Prefix: prefix, Queues: queues, Log: cfg.Log,
	})
	return &Store{Shared: kept, Contents: kept.Contents(), Records: kept.Records(), Files: kept.Files(), Schedules: kept.Schedules(), Run: kept.Run}, nil
}
