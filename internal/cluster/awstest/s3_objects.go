package awstest

import (
	"cmp"
	"net/http"
	"slices"
	"strconv"
	"strings"
)

func putObject(c *call) (object, error) {
	b, err := c.bucket()
	if err != nil {
		return nil, err
	}
	key := c.in.text("Key")
	if err := c.condition(b, key); err != nil {
		return nil, err
	}
	v := objectVersion{id: "null", body: slices.Clone(c.body), etag: etagOf(c.body), kind: c.in.text("ContentType"), modified: c.clock.now}
	b.put(key, v)
	c.header["ETag"] = v.etag
	return nil, nil
}

// put adds a version, or takes the place of the only one.
func (b *bucket) put(key string, v objectVersion) {
	if !b.versioned {
		b.objects[key] = []objectVersion{v}
		return
	}
	b.nextNumber++
	v.id = "v" + strconv.Itoa(b.nextNumber)
	b.objects[key] = append(b.objects[key], v)
}

func (c *call) stored() (*objectVersion, error) {
	b, err := c.bucket()
	if err != nil {
		return nil, err
	}
	v := b.newest(c.in.text("Key"))
	if v == nil {
		return nil, refuseAs(http.StatusNotFound, "NoSuchKey", "The specified key does not exist.")
	}
	c.in.ignore("ContentType")
	if err := c.condition(b, c.in.text("Key")); err != nil {
		return nil, err
	}
	c.header["ETag"], c.header["Last-Modified"] = v.etag, v.modified.UTC().Format(http.TimeFormat)
	c.header["Content-Type"] = cmp.Or(v.kind, "binary/octet-stream")
	return v, nil
}

func getObject(c *call) (object, error) {
	v, err := c.stored()
	if err != nil {
		return nil, err
	}
	c.raw = append([]byte{}, v.body...)
	return nil, nil
}

func headObject(c *call) (object, error) {
	v, err := c.stored()
	if err != nil {
		return nil, err
	}
	c.header["Content-Length"] = strconv.Itoa(len(v.body))
	return nil, nil
}

func deleteObject(c *call) (object, error) {
	b, err := c.bucket()
	if err != nil {
		return nil, err
	}
	if c.in.has("IfMatch") {
		if err := c.condition(b, c.in.text("Key")); err != nil {
			return nil, err
		}
	}
	c.erase(b, c.in.text("Key"), c.in.text("versionId"))
	c.status = http.StatusNoContent
	return nil, nil
}

// erase takes a version away, or puts a marker before the others.
func (c *call) erase(b *bucket, key, version string) {
	switch {
	case version != "":
		b.objects[key] = slices.DeleteFunc(b.objects[key], func(v objectVersion) bool { return v.id == version })
		if len(b.objects[key]) == 0 {
			delete(b.objects, key)
		}
	case b.versioned:
		b.put(key, objectVersion{marker: true, modified: c.clock.now})
	default:
		delete(b.objects, key)
	}
}

func deleteObjects(c *call) (object, error) {
	b, err := c.bucket()
	if err != nil {
		return nil, err
	}
	quiet := c.in.flag("Quiet")
	c.in.ignore("ContentType", "xmlns")
	list := flat{}
	wanted := c.in.objects("Object")
	if len(wanted) > 1000 {
		return nil, refuse("MalformedXML", "The XML you provided was not well-formed or did not validate against our published schema")
	}
	for _, o := range wanted {
		c.erase(b, o.text("Key"), o.text("VersionId"))
		if !quiet {
			list = append(list, object{"Key": o.text("Key")})
		}
	}
	return object{"DeleteResult": object{"Deleted": list}}, nil
}

// keys are those of a bucket that begin with what was asked for.
func (c *call) keys(b *bucket) []string {
	prefix := c.in.text("prefix")
	c.in.ignore("encoding-type") // only an answer that says so is encoded
	return slices.DeleteFunc(sorted(b.objects), func(k string) bool { return !strings.HasPrefix(k, prefix) })
}

func listObjects(c *call) (object, error) {
	b, err := c.bucket()
	if err != nil {
		return nil, err
	}
	var list []any
	for _, key := range c.keys(b) {
		if v := b.newest(key); v != nil {
			list = append(list, object{"Key": key, "ETag": v.etag, "Size": len(v.body), "LastModified": stamp(v.modified), "StorageClass": "STANDARD"})
		}
	}
	part, next, err := c.page(list, "continuation-token", "max-keys")
	if err != nil {
		return nil, err
	}
	out := object{"Name": b.name, "Prefix": c.in.text("prefix"), "KeyCount": len(part), "MaxKeys": 1000, "IsTruncated": next != "", "Contents": flat(part)}
	set(out, "NextContinuationToken", next)
	return object{"ListBucketResult": out}, nil
}

func listVersions(c *call) (object, error) {
	b, err := c.bucket()
	if err != nil {
		return nil, err
	}
	c.in.ignore("version-id-marker")
	var list []any
	for _, key := range c.keys(b) {
		all := b.objects[key]
		for i := len(all) - 1; i >= 0; i-- {
			o := object{"Key": key, "VersionId": all[i].id, "IsLatest": i == len(all)-1, "LastModified": stamp(all[i].modified)}
			if o["marker"] = all[i].marker; !all[i].marker {
				o["ETag"], o["Size"], o["StorageClass"] = all[i].etag, len(all[i].body), "STANDARD"
			}
			list = append(list, o)
		}
	}
	part, next, err := c.page(list, "key-marker", "max-keys")
	if err != nil {
		return nil, err
	}
	versions, markers := flat{}, flat{}
	for _, v := range part {
		o := without(v.(object), "marker")
		if v.(object)["marker"] == true {
			markers = append(markers, o)
		} else {
			versions = append(versions, o)
		}
	}
	out := object{"Name": b.name, "Prefix": c.in.text("prefix"), "MaxKeys": 1000, "IsTruncated": next != "", "Version": versions, "DeleteMarker": markers}
	set(out, "NextKeyMarker", next)
	if next != "" {
		out["NextVersionIdMarker"] = "null"
	}
	return object{"ListVersionsResult": out}, nil
}

func createUpload(c *call) (object, error) {
	b, err := c.bucket()
	if err != nil {
		return nil, err
	}
	c.in.ignore("ContentType")
	id := c.letters(hexDigits, 32)
	b.uploads[id] = c.in.text("Key")
	return object{"InitiateMultipartUploadResult": object{"Bucket": b.name, "Key": c.in.text("Key"), "UploadId": id}}, nil
}

func abortUpload(c *call) (object, error) {
	b, err := c.bucket()
	if err != nil {
		return nil, err
	}
	id := c.in.text("uploadId")
	if b.uploads[id] != c.in.text("Key") {
		return nil, refuseAs(http.StatusNotFound, "NoSuchUpload", "The specified upload does not exist. The upload ID may be invalid, or the upload may have been aborted or completed.")
	}
	delete(b.uploads, id)
	c.status = http.StatusNoContent
	return nil, nil
}

func listUploads(c *call) (object, error) {
	b, err := c.bucket()
	if err != nil {
		return nil, err
	}
	c.in.ignore("encoding-type", "upload-id-marker")
	var list []any
	for _, id := range sorted(b.uploads) {
		list = append(list, object{"Key": b.uploads[id], "UploadId": id, "Initiated": stamp(c.clock.now), "StorageClass": "STANDARD"})
	}
	part, next, err := c.page(list, "key-marker", "max-uploads")
	if err != nil {
		return nil, err
	}
	out := object{"Bucket": b.name, "IsTruncated": next != "", "MaxUploads": 1000, "Upload": flat(part)}
	set(out, "NextKeyMarker", next)
	return object{"ListMultipartUploadsResult": out}, nil
}
