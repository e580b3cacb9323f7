package cli

import (
	"reflect"

	"cortex.dev/cortex/internal/auth"
	"cortex.dev/cortex/internal/auth/policy"
	"cortex.dev/cortex/internal/autoscaler"
	"cortex.dev/cortex/internal/cluster"
	"cortex.dev/cortex/internal/hostconfig"
	"cortex.dev/cortex/internal/httpapi"
	"cortex.dev/cortex/internal/migrate"
	"cortex.dev/cortex/internal/workload"
)

// answer is what a command prints with `-o json` and `-o yaml`.
type answer struct {
	words string         // names in capitals are definitions of its schema
	of    []reflect.Type // of the whole, or of each line: one of them
	lines bool
}

func prints[T any](words string) answer {
	return answer{words: words, of: []reflect.Type{reflect.TypeFor[T]()}}
}

func printsLines[T any](words string) answer {
	return answer{words: words, of: []reflect.Type{reflect.TypeFor[T]()}, lines: true}
}

// or is for what prints another thing with other arguments.
func (a answer) or(other reflect.Type) answer {
	a.of = append(a.of, other)
	return a
}

const (
	results     = "a list of `DeployResult`, one for each API"
	installWord = "an object: `namespace`, `apis_namespace`, `cluster_name`, `version`, `operator_endpoint`, `api_endpoint`, `fingerprint`; what is not known yet is empty"
)

// answers has them by command.
var answers = map[string]answer{ //nolint:gosec // words about secrets, no secret
	"cortex cancel":         prints[workload.ItemsChanged]("an `ItemsChanged`"),
	"cortex item":           prints[workload.Item]("an `Item`"),
	"cortex items":          prints[[]workload.Item]("a list of `Item`, newest first"),
	"cortex jobs":           prints[[]workload.Job]("a list of `Job`, newest first"),
	"cortex results":        printsLines[workload.JobLine]("one `JobLine` in each line"),
	"cortex retry":          prints[workload.ItemsChanged]("an `ItemsChanged`; of a job a `JobSubmitted`").or(reflect.TypeFor[workload.JobSubmitted]()),
	"cortex purge":          prints[workload.ItemsPurged]("an `ItemsPurged`"),
	"cortex webhooks":       prints[[]workload.Hook]("a list of `Hook`, those about the latest items first; with `--redeliver`, those that are sent again"),
	"cortex audit":          printsLines[auth.Entry]("one `Entry` in each line"),
	"cortex cluster down":   prints[[]cluster.Verified]("a list: each kind of thing that was looked for, and what is left of it"),
	"cortex cluster info":   prints[cluster.Status]("an object: what there is of the cluster, what it costs now and what differs from its file"),
	"cortex cluster health": prints[map[string]bool]("an object: the name of each check, and whether it is in order"),
	"cortex cluster plan":   prints[cluster.Plan]("the plan: an object that is described in docs/aws.md"),
	"cortex delete":         prints[workload.Message]("a `Message`"),
	"cortex deploy":         prints[[]workload.DeployResult]("a list of `DeployResult`, one for each API of the file, in its order; with a wait, `api.status` is the last one seen"),
	"cortex describe":       prints[[]workload.APIResponse]("a list of one `APIResponse`"),
	"cortex env list":       prints[listedEnvironments]("an object: `default_environment`, and `environments`, a list with `name` and `operator_endpoint`"),
	"cortex events":         printsLines[workload.Event]("one `Event` in each line"),
	"cortex explain":        prints[workload.Explanation]("an `Explanation`"),
	"cortex get": prints[[]workload.APIResponse]("a list of `APIResponse`, of one with a name; without a name and without --env a list of environments, each with `env_name`, `apis` (such a list) and `error`, which is empty where it could be asked; of a job a `JobResponse`").
		or(reflect.TypeFor[[]inEnvironment]()).or(reflect.TypeFor[workload.JobResponse]()),
	"cortex top":                printsLines[workload.Watched]("one `Watched` in each line: the first has everything, those after it what has changed; with --once the first only"),
	"cortex history":            prints[[]workload.APIVersion]("a list of `APIVersion`, newest first"),
	"cortex install":            prints[ClusterInfo](installWord),
	"cortex local status":       prints[localStatus]("an object: `running`, `socket` and `log`; when it runs also what the management API says at /v1/info, otherwise `ending`, the process that still stops its replicas, if there is one"),
	"cortex local verify":       prints[hostconfig.Verified]("an object: `state_dir`, how many `records`, `contents` and `jobs` were looked at, and `damaged`, a list: `what`, `api` and `name`, where that can be told, `file` and `problem`; `more` is how many there are beyond those listed"),
	"cortex keys create":        prints[workload.KeyMade]("a `KeyMade`: `key` is the key itself, which is never shown again"),
	"cortex token":              prints[auth.CallSession]("a `CallSession`"),
	"cortex usage":              prints[[]workload.Calls]("a list of `Calls`: an API, an hour and a caller each"),
	"cortex keys list":          prints[[]workload.Key]("a list of `Key`, without the keys themselves"),
	"cortex keys revoke":        prints[workload.Message]("a `Message`"),
	"cortex keys rotate":        prints[workload.KeyMade]("a `KeyMade`, as that of `cortex keys create`"),
	"cortex logs":               printsLines[workload.LogLine]("one `LogLine` in each line"),
	"cortex migrate":            prints[migrate.Report]("an object: `findings`, a list of what was found, each with `file`, `line`, `state`, `text` and, where there is something to do, `do`"),
	"cortex policy check":       prints[checkedPolicy]("an object: `file`, `valid`, `policies` and `problems`, a list of `Problem`"),
	"cortex policy explain":     prints[policy.Explanation]("an object: the decision and the policies that make it"),
	"cortex refresh":            prints[workload.Message]("a `Message`"),
	"cortex rollback":           prints[workload.DeployResult]("a `DeployResult`"),
	"cortex run":                prints[[]workload.DeployResult]("a list of one `DeployResult`; with a wait, `api.status` is the last one seen"),
	"cortex schedules backfill": prints[workload.ScheduleStatus]("a `ScheduleStatus`"),
	"cortex schedules list":     prints[[]workload.ScheduleStatus]("a list of `ScheduleStatus`"),
	"cortex schedules pause":    prints[workload.ScheduleStatus]("a `ScheduleStatus`"),
	"cortex schedules resume":   prints[workload.ScheduleStatus]("a `ScheduleStatus`"),
	"cortex schedules run":      prints[workload.ScheduleRun]("a `ScheduleRun`"),
	"cortex scale":              prints[[]workload.DeployResult](results),
	"cortex start":              prints[[]workload.DeployResult](results),
	"cortex stop":               prints[[]workload.DeployResult](results),
	"cortex secret delete":      prints[workload.Message]("a `Message`"),
	"cortex secret list":        prints[[]workload.Secret]("a list of `Secret`"),
	"cortex secret set":         prints[workload.SecretSet]("a `SecretSet`: `run_with_old` are the APIs whose replicas have the value of before"),
	"cortex simulate":           prints[autoscaler.Result]("an object: the trace, what the autoscaler did and what became of the requests"),
	"cortex submit": prints[acceptedItem]("an object with the `id` of the item; with --wait an `Item`; of a job a `JobSubmitted`, with --wait a `JobResponse`").
		or(reflect.TypeFor[workload.Item]()).or(reflect.TypeFor[workload.JobSubmitted]()).or(reflect.TypeFor[workload.JobResponse]()),
	"cortex upgrade":       prints[ClusterInfo]("as that of `cortex install`"),
	"cortex validate":      prints[[]validated]("a list with an object for each file: `file`, `valid`, `apis` (`name`, `kind` and, where there are any, `schedules` with their `next` times), `problems` and, where there are any, `warnings`, lists of `Problem`"),
	"cortex version":       prints[versions]("an object: `cli_version` and, where an environment was asked, `environment` and `operator_version`"),
	"cortex volume delete": prints[workload.Message]("a `Message`"),
	"cortex volume list":   prints[[]workload.VolumeInfo]("a list of `VolumeInfo`; `path` is there in the local environment"),
	"cortex whoami":        prints[identity]("an object: `environment`, `operator_endpoint`, `user` in the local environment; elsewhere `credentials`, `principal`, `cluster_id`, `session_expires_at`, `policy` and `permissions`"),
}

// schema is the JSON Schema of what a command prints.
func (a answer) schema(command string) ([]byte, error) {
	about := "What `" + command + " -o json` prints."
	if a.lines {
		about = "Each line of what `" + command + " -o json` prints."
	}
	return httpapi.JSONSchema(command, about, a.of, reflect.TypeFor[cluster.USD]())
}
