package migrate

import (
	"regexp"
	"strings"
)

// changed are the uses of 0.42 and earlier releases that a line of a script can have.
var changed = []struct {
	pattern  *regexp.Regexp
	state    State
	text, do string
}{
	{
		regexp.MustCompile(`\bcortex\s+cluster-gcp\s`), Impossible,
		"clusters are made on AWS only", "`cortex install` puts Cortex on a Kubernetes cluster that there is",
	},
	{
		regexp.MustCompile(`\bcortex\s+cluster\s+scale\b`), ToDo,
		"this command is gone", "`cortex cluster configure` with the numbers in the cluster file",
	},
	{
		regexp.MustCompile(`\bcortex\s+cluster\s+(up|down|configure|export|info)\b`), ToDo,
		"a cluster of 0.42 goes on with the program that has made it", "make one of this release beside it: docs/migrating.md",
	},
	{
		regexp.MustCompile(`\bcortex\s+env\s+configure\b.*\s(-p|--provider|--aws-|-k|-s)\b`), ToDo,
		"an environment elsewhere takes no provider and no keys", "`cortex env configure NAME --operator-endpoint URL`; credentials are found as the AWS SDKs find them",
	},
	{
		regexp.MustCompile(`\bcortex\s+env\s+configure\b`), ToDo,
		"the operator has to prove itself", "add --ca FILE or --fingerprint where its certificate is its own",
	},
	{
		regexp.MustCompile(`\bcortex\s+(patch|prepare-debug)\b`), ToDo,
		"this command is gone", "`cortex deploy` with the whole file; a process on this machine can be debugged as it is",
	},
	{
		regexp.MustCompile(`\bcortex\s+deploy\b`), ToDo,
		"deploy waits until the APIs are live", "add --no-wait where the script goes on at once",
	},
	{
		regexp.MustCompile(`X-Cortex-Authorization`), ToDo,
		"this header is not read", "an AWS identity is exchanged for a session: docs/auth.md",
	},
	{
		regexp.MustCompile(`ingressgateway-(apis|operator)\.istio-system`), ToDo,
		"the gateways have another address", "use $CORTEX_API_ENDPOINT, which every replica has",
	},
	{
		regexp.MustCompile(`env_list\(\)\s*\[\s*["']environments`), ToDo,
		"env_list returns the list itself", `remove ["environments"]`,
	},
	{
		regexp.MustCompile(`\bcortex\.(local_client|cluster_client)\(`), ToDo,
		"this function is gone", "cortex.client(name)",
	},
	{
		regexp.MustCompile(`\.(create_api|stream_api_logs|stream_job_logs)\(`), ToDo,
		"this method is gone", "deploy(api_spec, wait=True) or deploy_from_file; logs(name, follow=True)",
	},
	{
		regexp.MustCompile(`=\s*\w+\.deploy_from_file\(`), ToDo,
		"deploy_from_file returns one result for each API of the file", "take the first, or go through all",
	},
	{
		regexp.MustCompile(`cortexlabs/cortex/.*get-cli|pip3? install .*\bcortex==0\.`), ToDo,
		"this installs the old command line", "install the new one, or keep the old under another name: docs/migrating.md",
	},
}

// script names each line that uses what has changed. A line is told once, by the first
// that fits; one that is a comment is not.
func (r *Report) script(in File) {
	line := 0
	for text := range strings.Lines(string(in.Data)) {
		line++
		if strings.HasPrefix(strings.TrimSpace(text), "#") || strings.HasPrefix(strings.TrimSpace(text), "//") {
			continue
		}
		for _, c := range changed {
			if c.pattern.MatchString(text) && !(strings.Contains(c.do, "--no-wait") && strings.Contains(text, "--no-wait")) {
				r.find(in, line, c.state, c.text, c.do)
				break
			}
		}
	}
}
