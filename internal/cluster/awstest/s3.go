package awstest

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"regexp"
	"strings"
	"time"
)

// s3State is what S3 knows of the account's region.
type s3State struct {
	buckets map[string]*bucket
}

// bucket is a bucket. Its settings are kept as they were put, and nothing comes of them.
type bucket struct {
	name       string
	foreign    bool // somebody else's
	created    time.Time
	versioned  bool
	settings   map[string]object // by subresource
	objects    map[string][]objectVersion
	uploads    map[string]string // keys of uploads that nobody has finished, by id
	nextNumber int
}

// objectVersion is one version of an object, the newest last.
type objectVersion struct {
	id       string
	body     []byte
	etag     string
	kind     string // of its content
	marker   bool   // it says that the object is deleted
	modified time.Time
}

func onBucket(c *call) []string {
	return []string{"arn:" + c.partition + ":s3:::" + c.in.text("Bucket")}
}

func onObject(c *call) []string {
	return []string{"arn:" + c.partition + ":s3:::" + c.in.text("Bucket") + "/" + c.in.text("Key")}
}

func onObjects(c *call) []string {
	var list []string
	for _, v := range c.in.list("Object") {
		if o, ok := v.(object); ok {
			list = append(list, "arn:"+c.partition+":s3:::"+c.in.text("Bucket")+"/"+textOf(o["Key"]))
		}
	}
	return list
}

var s3Service = &service{
	name: "s3", protocol: restXML{}, errors: wordsS3,
	operations: []operation{
		{name: "CreateBucket", do: createBucket, on: onBucket, route: "PUT bucket"},
		{name: "HeadBucket", do: headBucket, on: onBucket, route: "HEAD bucket", permission: "ListBucket"},
		{name: "DeleteBucket", do: deleteBucket, on: onBucket, route: "DELETE bucket"},
		{name: "GetBucketLocation", do: bucketLocation, on: onBucket, route: "GET bucket location"},
		{name: "PutBucketTagging", do: putSetting("tagging"), on: onBucket, route: "PUT bucket tagging"},
		{name: "GetBucketTagging", do: getSetting("tagging", "Tagging", "NoSuchTagSet", "The TagSet does not exist"), on: onBucket, route: "GET bucket tagging"},
		{name: "PutBucketEncryption", do: putSetting("encryption"), on: onBucket, route: "PUT bucket encryption", permission: "PutEncryptionConfiguration"},
		{name: "GetBucketEncryption", do: getSetting("encryption", "ServerSideEncryptionConfiguration", "ServerSideEncryptionConfigurationNotFoundError", "The server side encryption configuration was not found"), on: onBucket, route: "GET bucket encryption", permission: "GetEncryptionConfiguration"},
		{name: "PutPublicAccessBlock", do: putSetting("publicAccessBlock"), on: onBucket, route: "PUT bucket publicAccessBlock", permission: "PutBucketPublicAccessBlock"},
		{name: "GetPublicAccessBlock", do: getSetting("publicAccessBlock", "PublicAccessBlockConfiguration", "NoSuchPublicAccessBlockConfiguration", "The public access block configuration was not found"), on: onBucket, route: "GET bucket publicAccessBlock", permission: "GetBucketPublicAccessBlock"},
		{name: "PutBucketLifecycleConfiguration", do: putSetting("lifecycle"), on: onBucket, route: "PUT bucket lifecycle", permission: "PutLifecycleConfiguration"},
		{name: "GetBucketLifecycleConfiguration", do: getSetting("lifecycle", "LifecycleConfiguration", "NoSuchLifecycleConfiguration", "The lifecycle configuration does not exist"), on: onBucket, route: "GET bucket lifecycle", permission: "GetLifecycleConfiguration"},
		{name: "PutBucketVersioning", do: putVersioning, on: onBucket, route: "PUT bucket versioning"},
		{name: "GetBucketVersioning", do: getVersioning, on: onBucket, route: "GET bucket versioning"},
		{name: "ListObjectsV2", do: listObjects, on: onBucket, route: "GET bucket list-type", permission: "ListBucket"},
		{name: "ListObjectVersions", do: listVersions, on: onBucket, route: "GET bucket versions", permission: "ListBucketVersions"},
		{name: "ListMultipartUploads", do: listUploads, on: onBucket, route: "GET bucket uploads", permission: "ListBucketMultipartUploads"},
		{name: "DeleteObjects", do: deleteObjects, on: onObjects, route: "POST bucket delete", permission: "DeleteObject"},
		{name: "PutObject", do: putObject, on: onObject, route: "PUT object"},
		{name: "GetObject", do: getObject, on: onObject, route: "GET object"},
		{name: "HeadObject", do: headObject, on: onObject, route: "HEAD object", permission: "GetObject"},
		{name: "DeleteObject", do: deleteObject, on: onObject, route: "DELETE object"},
		{name: "CreateMultipartUpload", do: createUpload, on: onObject, route: "POST object uploads", permission: "PutObject"},
		{name: "AbortMultipartUpload", do: abortUpload, on: onObject, route: "DELETE object uploadId"},
	},
}

// TakeBucket has somebody else own a bucket of that name.
func (a *Account) TakeBucket(name string) {
	defer a.locked()()
	a.s3.buckets[name] = &bucket{name: name, foreign: true}
}

func (c *call) bucket() (*bucket, error) {
	name := c.in.text("Bucket")
	b := c.s3.buckets[name]
	switch {
	case b == nil:
		return nil, refuseAs(http.StatusNotFound, "NoSuchBucket", "The specified bucket does not exist")
	case b.foreign || c.in.or("X-Amz-Expected-Bucket-Owner", c.id) != c.id:
		return nil, refuseAs(http.StatusForbidden, "AccessDenied", "Access Denied")
	}
	return b, nil
}

var bucketShape = regexp.MustCompile(`^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$`)

func createBucket(c *call) (object, error) {
	name := c.in.text("Bucket")
	where := c.in.text("LocationConstraint")
	c.in.ignore("ContentType")
	old := c.s3.buckets[name]
	switch {
	case !bucketShape.MatchString(name):
		return nil, refuse("InvalidBucketName", "The specified bucket is not valid.")
	case where != c.region && !(where == "" && c.region == "us-east-1"):
		return nil, refuse("IllegalLocationConstraintException", "The %s location constraint is incompatible for the region specific endpoint this request was sent to.", cmp.Or(where, "unspecified"))
	case old != nil && old.foreign:
		return nil, refuseAs(http.StatusConflict, "BucketAlreadyExists", "The requested bucket name is not available. The bucket namespace is shared by all users of the system. Please select a different name and try again.")
	case old != nil && c.region == "us-east-1":
		return nil, nil // of old, and only there
	case old != nil:
		return nil, refuseAs(http.StatusConflict, "BucketAlreadyOwnedByYou", "Your previous request to create the named bucket succeeded and you already own it.")
	}
	c.s3.buckets[name] = &bucket{name: name, created: c.clock.now, settings: map[string]object{}, objects: map[string][]objectVersion{}, uploads: map[string]string{}}
	c.made["bucket"]++
	c.header["Location"] = "/" + name
	return nil, nil
}

func headBucket(c *call) (object, error) {
	if _, err := c.bucket(); err != nil {
		return nil, err
	}
	c.header["x-amz-bucket-region"] = c.region
	return nil, nil
}

func deleteBucket(c *call) (object, error) {
	b, err := c.bucket()
	if err != nil {
		return nil, err
	}
	if len(b.objects) > 0 || len(b.uploads) > 0 {
		message := "The bucket you tried to delete is not empty"
		if b.versioned {
			message += ". You must delete all versions in the bucket."
		}
		return nil, refuseAs(http.StatusConflict, "BucketNotEmpty", "%s", message)
	}
	delete(c.s3.buckets, b.name)
	c.status = http.StatusNoContent
	return nil, nil
}

func bucketLocation(c *call) (object, error) {
	if _, err := c.bucket(); err != nil {
		return nil, err
	}
	if c.region == "us-east-1" {
		return object{"LocationConstraint": ""}, nil
	}
	return object{"LocationConstraint": c.region}, nil
}

// putSetting keeps a setting of a bucket as it was said.
func putSetting(name string) func(c *call) (object, error) {
	return func(c *call) (object, error) {
		b, err := c.bucket()
		if err != nil {
			return nil, err
		}
		c.in.ignore("ContentType")
		setting := object{}
		for key := range c.in.tree {
			if key != "Bucket" && !c.in.read[key] {
				setting[key] = flattened(c.in.whole(key))
			}
		}
		b.settings[name] = setting
		if name == "tagging" {
			c.status = http.StatusNoContent
		}
		return nil, nil
	}
}

// flattened has lists written as they were read.
func flattened(v any) any {
	switch x := v.(type) {
	case []any:
		list := flat{}
		for _, each := range x {
			list = append(list, flattened(each))
		}
		return list
	case object:
		o := object{}
		for k, each := range x {
			o[k] = flattened(each)
		}
		return o
	}
	return v
}

func getSetting(name, root, code, message string) func(c *call) (object, error) {
	return func(c *call) (object, error) {
		b, err := c.bucket()
		if err != nil {
			return nil, err
		}
		setting := b.settings[name]
		if setting == nil && name == "encryption" { // every bucket is, nowadays
			setting = object{"Rule": object{"ApplyServerSideEncryptionByDefault": object{"SSEAlgorithm": "AES256"}, "BucketKeyEnabled": false}}
		}
		if setting == nil {
			return nil, refuseAs(http.StatusNotFound, code, "%s", message)
		}
		return object{root: setting}, nil
	}
}

func putVersioning(c *call) (object, error) {
	b, err := c.bucket()
	if err != nil {
		return nil, err
	}
	c.in.ignore("ContentType")
	b.versioned = c.in.text("Status") == "Enabled"
	return nil, nil
}

func getVersioning(c *call) (object, error) {
	b, err := c.bucket()
	if err != nil {
		return nil, err
	}
	if !b.versioned {
		return object{"VersioningConfiguration": object{}}, nil
	}
	return object{"VersioningConfiguration": object{"Status": "Enabled"}}, nil
}

// etagOf names a content. That S3 takes MD5 for it is no promise of its.
func etagOf(body []byte) string {
	sum := sha256.Sum256(body)
	return `"` + hex.EncodeToString(sum[:16]) + `"`
}

// newest is the version that is read, or nil.
func (b *bucket) newest(key string) *objectVersion {
	all := b.objects[key]
	if len(all) == 0 || all[len(all)-1].marker {
		return nil
	}
	return &all[len(all)-1]
}

// condition holds the conditions of a request against what there is.
func (c *call) condition(b *bucket, key string) error {
	match, none := c.in.text("IfMatch"), c.in.text("IfNoneMatch")
	now := b.newest(key)
	failed := refuseAs(http.StatusPreconditionFailed, "PreconditionFailed", "At least one of the pre-conditions you specified did not hold")
	switch {
	case none == "*" && now != nil:
		return failed
	case match != "" && now == nil:
		return refuseAs(http.StatusNotFound, "NoSuchKey", "The specified key does not exist.")
	case match != "" && strings.Trim(match, `"`) != strings.Trim(now.etag, `"`):
		return failed
	}
	return nil
}
