package awstest

import "net/http"

// service is one service of AWS: its names, how it is spoken to, and what it can do here.
type service struct {
	name       string // in signatures and policies
	host       string // in host names, where that is another
	global     bool   // is signed for the first region of the partition
	version    string // of the Query protocol
	namespace  string // of its XML
	target     string // what X-Amz-Target begins with
	protocol   protocol
	errors     errorWords
	operations []operation
}

// protocol is how requests and answers are written.
type protocol interface {
	request(s *service, r *http.Request, body []byte) (*operation, object, error)
	answer(w http.ResponseWriter, c *call, out object, id string)
	fail(w http.ResponseWriter, s *service, e *refusal, id string)
}

func (s *service) region(a *Account) string {
	if !s.global {
		return a.region
	}
	switch a.partition {
	case "aws-cn":
		return "cn-north-1"
	case "aws-us-gov":
		return "us-gov-west-1"
	case "aws-eusc":
		return "eusc-de-east-1"
	}
	return "us-east-1"
}

func (s *service) operation(name string) (*operation, error) {
	for i := range s.operations {
		if s.operations[i].name == name {
			return &s.operations[i], nil
		}
	}
	return nil, refuse("InvalidAction", "awstest does not know the operation %s of %s", name, s.name)
}

// errorWords are the words of a service for what all services refuse.
type errorWords string

// The families of words.
const (
	wordsQuery errorWords = "query"
	wordsEC2   errorWords = "ec2"
	wordsJSON  errorWords = "json"
	wordsS3    errorWords = "s3"
)

var words = map[errorWords]map[string]*refusal{
	wordsQuery: {
		"missing":     {403, "MissingAuthenticationToken", "Request is missing Authentication Token"},
		"unknown-key": {403, "InvalidClientTokenId", "The security token included in the request is invalid."},
		"expired":     {403, "ExpiredToken", "The security token included in the request is expired"},
		"throttle":    {400, "Throttling", "Rate exceeded"},
	},
	wordsEC2: {
		"missing":     {401, "MissingParameter", "Request is missing 'AWSAccessKeyId' parameter"},
		"unknown-key": {401, "AuthFailure", "AWS was not able to validate the provided access credentials"},
		"expired":     {400, "RequestExpired", "Request has expired."},
		"throttle":    {503, "RequestLimitExceeded", "Request limit exceeded."},
	},
	wordsJSON: {
		"missing":     {403, "MissingAuthenticationTokenException", "Missing Authentication Token"},
		"unknown-key": {403, "UnrecognizedClientException", "The security token included in the request is invalid."},
		"expired":     {403, "ExpiredTokenException", "The security token included in the request is expired"},
		"throttle":    {400, "ThrottlingException", "Rate exceeded"},
	},
	wordsS3: {
		"missing":     {403, "AccessDenied", "Access Denied"},
		"unknown-key": {403, "InvalidAccessKeyId", "The AWS Access Key Id you provided does not exist in our records."},
		"expired":     {400, "ExpiredToken", "The provided token has expired."},
		"throttle":    {503, "SlowDown", "Please reduce your request rate."},
	},
}

func (w errorWords) of(what string) error {
	r := *words[w][what]
	return &r
}

func (w errorWords) signature() string {
	if w == wordsEC2 {
		return "AuthFailure"
	}
	return "SignatureDoesNotMatch"
}

// denied is a refusal by policies, in the words of a service.
func (c *call) denied(err error) error {
	r := asRefusal(err)
	switch c.service.errors {
	case wordsEC2:
		r.code = "UnauthorizedOperation"
		r.message = "You are not authorized to perform this operation. " + r.message
	case wordsJSON:
		r.code = "AccessDeniedException"
	}
	r.status = http.StatusForbidden
	return r
}

// services are all that there are, by the names in signatures.
var services map[string]*service

func init() { // for operations call others
	services = map[string]*service{}
	for _, s := range []*service{
		stsService, iamService, ec2Service, cloudformationService, eksService, elbService, autoscalingService, s3Service, logsService, sqsService, quotasService, acmService, ssmService,
	} {
		services[s.name] = s
	}
}
