package awstest

// acmState is what Certificate Manager knows.
type acmState struct {
	certificates map[string]object // by ARN
}

// AddCertificate has a certificate be there, and returns its ARN. Its status is such as
// ISSUED.
func (a *Account) AddCertificate(domain, status string) string {
	defer a.locked()()
	arn := a.arn("acm", "certificate/"+a.uuid())
	a.acm.certificates[arn] = object{
		"CertificateArn": arn, "DomainName": domain, "Status": status, "Type": "AMAZON_ISSUED", "CreatedAt": stamp(a.clock.now), "SubjectAlternativeNames": []any{domain},
		"KeyAlgorithm": "RSA-2048", "InUseBy": []any{}, "RenewalEligibility": "ELIGIBLE",
	}
	return arn
}

var acmService = &service{
	name: "acm", target: "CertificateManager", protocol: jsonTarget{"1.1"}, errors: wordsJSON,
	operations: []operation{
		{name: "DescribeCertificate", do: describeCertificate, on: func(c *call) []string { return []string{c.in.text("CertificateArn")} }},
	},
}

func describeCertificate(c *call) (object, error) {
	arn := c.in.text("CertificateArn")
	o := c.acm.certificates[arn]
	if o == nil {
		return nil, refuse("ResourceNotFoundException", "Could not find certificate %s.", arn)
	}
	return object{"Certificate": o}, nil
}
