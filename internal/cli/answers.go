package cli

// answers say, by command, what `-o json` and `-o yaml` print. Names in capitals are
// schemas of the OpenAPI document, which the management API has at /openapi.json.
var answers = map[string]string{
	"cortex audit":          "one `Entry` in each line",
	"cortex cluster health": "an object: the name of each check, and whether it is in order",
	"cortex cluster plan":   "the plan: an object that is described in docs/aws.md",
	"cortex delete":         "a `Message`",
	"cortex deploy":         "a list of `DeployResult`, one for each API of the file, in its order; with a wait, `api.status` is the last one seen",
	"cortex describe":       "a list of one `APIResponse`",
	"cortex env list":       "an object: `default_environment`, and `environments`, a list with `name` and `operator_endpoint`",
	"cortex events":         "one `Event` in each line",
	"cortex explain":        "an `Explanation`",
	"cortex get":            "a list of `APIResponse`, of one with a name; without a name and without --env a list of environments, each with `env_name`, `apis` (such a list) and `error`, which is empty where it could be asked",
	"cortex history":        "a list of `APIVersion`, newest first",
	"cortex install":        "an object: `namespace`, `apis_namespace`, `cluster_name`, `version`, `operator_endpoint`, `api_endpoint`, `fingerprint`; what is not known yet is empty",
	"cortex local status":   "an object: `running`, `socket` and `log`; when it runs also the members of an `Info`, otherwise `ending`, the process that still stops its replicas, if there is one",
	"cortex logs":           "one `LogLine` in each line",
	"cortex migrate":        "an object: `findings`, a list of what was found, each with `file`, `line`, `state`, `text` and, where there is something to do, `do`",
	"cortex policy check":   "an object: `file`, `valid`, `policies` and `problems`, a list of `Problem`",
	"cortex policy explain": "an object: the decision and the policies that make it",
	"cortex refresh":        "a `Message`",
	"cortex rollback":       "a `DeployResult`",
	"cortex simulate":       "an object: the trace, what the autoscaler did and what became of the requests",
	"cortex upgrade":        "as that of `cortex install`",
	"cortex validate":       "a list with an object for each file: `file`, `valid`, `apis` (`name` and `kind`), `problems` and, where there are any, `warnings`, lists of `Problem`",
	"cortex version":        "an object: `cli_version` and, where an environment was asked, `environment` and `operator_version`",
	"cortex whoami":         "an object: `environment`, `operator_endpoint`, `user` in the local environment; elsewhere `credentials`, `principal`, `cluster_id`, `session_expires_at`, `policy` and `permissions`",
}
