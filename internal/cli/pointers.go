package cli

// pointers say what to type instead of the words of other tools. A word that is a
// command does not belong here.
var pointers = map[string]string{
	"apply":   hintDeploy,
	"create":  hintDeploy,
	"up":      hintDeploy,
	"update":  hintDeploy,
	"list":    hintGet,
	"ls":      hintGet,
	"ps":      hintGet,
	"status":  hintGet,
	"destroy": hintDelete,
	"remove":  hintDelete,
	"rm":      hintDelete,
	"down":    "`cortex delete API_NAME` deletes an API; `cortex local stop` stops everything on this machine",
	"restart": "`cortex refresh API_NAME` replaces the replicas of an API, without downtime",
	"reload":  "`cortex refresh API_NAME` replaces the replicas of an API, without downtime",
	"open":    "`cortex get API_NAME` shows the URL of an API; `cortex predict API_NAME` calls it",
	"call":    "`cortex predict API_NAME sample.json` calls an API",
	"curl":    "`cortex predict API_NAME sample.json` calls an API",
	"inspect": "`cortex describe API_NAME` shows the replicas of an API",
	"login":   "there is nothing to log in to: commands prove your AWS identity themselves; `cortex whoami` shows it",
	"volumes": "`cortex volume` shows and deletes the volumes that this machine keeps",
	"key":     "`cortex keys` makes and revokes the keys with which callers may call APIs",
	"secrets": "`cortex secret` keeps passwords and tokens",
	"config":  "`cortex env` manages where commands go; an API is configured in its cortex.yaml",
	"context": "`cortex env` manages where commands go",
}

const (
	hintDeploy = "`cortex deploy` brings up what cortex.yaml says"
	hintGet    = "`cortex get` lists APIs"
	hintDelete = "`cortex delete API_NAME` deletes one"
)
