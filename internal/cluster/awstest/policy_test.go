package awstest

import (
	"strings"
	"testing"
)

func TestPatterns(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		pattern, s string
		want       bool
	}{
		{"*", "", true}, {"*", "anything", true}, {"a", "a", true}, {"a", "b", false}, {"a*", "abc", true}, {"*c", "abc", true}, {"a*c", "abbc", true}, {"a*c", "abcd", false},
		{"a?c", "abc", true}, {"a?c", "ac", false}, {"*a*b*", "xxaxxbxx", true}, {"*a*b*", "xxbxxaxx", false}, {"a**", "a", true}, {"", "", true}, {"", "a", false},
		{"arn:*:iam::1:role/eksctl-*", "arn:aws:iam::1:role/eksctl-iris", true}, {"arn:*:iam::1:role/eksctl-*", "arn:aws:iam::1:role/x/eksctl-iris", false}, {"*ab", "aab", true},
	} {
		if got := like(c.pattern, c.s); got != c.want {
			t.Errorf("like(%q, %q) = %v, want %v", c.pattern, c.s, got, c.want)
		}
	}
}

// statementOf is a policy of one statement.
func statementOf(t *testing.T, inside string) *policy {
	t.Helper()
	p, err := parsePolicy(`{"Version":"2012-10-17","Statement":{`+inside+`}}`, false)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestPolicies(t *testing.T) {
	t.Parallel()
	const allow, deny = `"Effect":"Allow",`, `"Effect":"Deny",`
	for name, c := range map[string]struct {
		policies         []string
		action, resource string
		context          map[string]string
		want             string // part of the refusal; "": allowed
	}{
		"nothing allows":                   {nil, "ec2:CreateVpc", "*", nil, "because no identity-based policy allows the ec2:CreateVpc action"},
		"an action by its name":            {[]string{allow + `"Action":"ec2:CreateVpc","Resource":"*"`}, "ec2:CreateVpc", "*", nil, ""},
		"actions have no case":             {[]string{allow + `"Action":"ec2:createvpc","Resource":"*"`}, "ec2:CreateVpc", "*", nil, ""},
		"another service":                  {[]string{allow + `"Action":"eks:*","Resource":"*"`}, "ec2:CreateVpc", "*", nil, "no identity-based policy"},
		"resources have a case":            {[]string{allow + `"Action":"*","Resource":"arn:aws:s3:::Iris"`}, "s3:PutObject", "arn:aws:s3:::iris", nil, "no identity-based policy"},
		"a resource that does not fit":     {[]string{allow + `"Action":"s3:*","Resource":["arn:aws:s3:::a*","arn:aws:s3:::b*"]`}, "s3:PutObject", "arn:aws:s3:::c", nil, "no identity-based policy"},
		"a deny wins, whatever its place":  {[]string{deny + `"Action":"s3:DeleteBucket","Resource":"*"`, allow + `"Action":"*","Resource":"*"`}, "s3:DeleteBucket", "arn:aws:s3:::c", nil, "with an explicit deny"},
		"everything but":                   {[]string{allow + `"NotAction":"iam:*","Resource":"*"`}, "ec2:CreateVpc", "*", nil, ""},
		"what everything but leaves":       {[]string{allow + `"NotAction":"iam:*","Resource":"*"`}, "iam:CreateRole", "*", nil, "no identity-based policy"},
		"not these resources":              {[]string{allow + `"Action":"s3:*","NotResource":"arn:aws:s3:::a"`}, "s3:PutObject", "arn:aws:s3:::a", nil, "no identity-based policy"},
		"a condition that holds":           {[]string{allow + `"Action":"*","Resource":"*","Condition":{"StringEquals":{"iam:AWSServiceName":["a","b"]}}`}, "iam:X", "*", map[string]string{"iam:AWSServiceName": "b"}, ""},
		"keys of conditions have no case":  {[]string{allow + `"Action":"*","Resource":"*","Condition":{"StringEquals":{"IAM:awsservicename":"b"}}`}, "iam:X", "*", map[string]string{"iam:AWSServiceName": "b"}, ""},
		"one that does not":                {[]string{allow + `"Action":"*","Resource":"*","Condition":{"StringEquals":{"iam:AWSServiceName":"a"}}`}, "iam:X", "*", map[string]string{"iam:AWSServiceName": "b"}, "no identity-based policy"},
		"one about what is not there":      {[]string{allow + `"Action":"*","Resource":"*","Condition":{"StringEquals":{"iam:AWSServiceName":"a"}}`}, "iam:X", "*", nil, "no identity-based policy"},
		"if it exists":                     {[]string{allow + `"Action":"*","Resource":"*","Condition":{"StringEqualsIfExists":{"iam:AWSServiceName":"a"}}`}, "iam:X", "*", nil, ""},
		"all operators have to hold":       {[]string{allow + `"Action":"*","Resource":"*","Condition":{"StringLike":{"a:b":"x*"},"Null":{"a:c":"true"}}`}, "iam:X", "*", map[string]string{"a:b": "xy", "a:c": "z"}, "no identity-based policy"},
		"a negative one wants every value": {[]string{allow + `"Action":"*","Resource":"*","Condition":{"StringNotEquals":{"a:b":["x","y"]}}`}, "iam:X", "*", map[string]string{"a:b": "y"}, "no identity-based policy"},
		"a negative one about nothing":     {[]string{allow + `"Action":"*","Resource":"*","Condition":{"StringNotLike":{"a:b":"x"}}`}, "iam:X", "*", nil, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			who := &principal{arn: "arn:aws:iam::1:user/u"}
			for _, text := range c.policies {
				who.policies = append(who.policies, statementOf(t, text))
			}
			err := New(Options{}).permitted(who, c.action, c.resource, c.context)
			if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
				t.Errorf("permitted: %v, want %q", err, c.want)
			}
		})
	}
}

// What would not be evaluated as IAM does is not loaded.
func TestPoliciesThatAreNotLoaded(t *testing.T) {
	t.Parallel()
	for inside, want := range map[string]string{
		`"Effect":"Perhaps","Action":"*","Resource":"*"`:                                           "neither Allow nor Deny",
		`"Effect":"Allow","Resource":"*"`:                                                          "either Action or NotAction",
		`"Effect":"Allow","Action":"*"`:                                                            "either Resource or NotResource",
		`"Effect":"Allow","Action":"CreateVpc","Resource":"*"`:                                     "has no service",
		`"Effect":"Allow","Action":"*","Resource":"*","Condition":{"IpAddress":{"a:b":"1.2.3.4"}}`: "does not know the condition operator IpAddress",
		`"Effect":"Allow","Action":"*","Resource":"*","Colour":"red"`:                              "unknown field",
	} {
		if _, err := parsePolicy(`{"Version":"2012-10-17","Statement":[{`+inside+`}]}`, false); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", inside, err, want)
		}
	}
}
