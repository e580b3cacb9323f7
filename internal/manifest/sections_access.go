package manifest

import "cortex.dev/cortex/internal/workload"

var authSection = section[workload.Auth]{fields: []field[workload.Auth]{
	wordsNeeded("networking.auth.", "accept", "what proves a caller: keys, which cortex keys create makes", func(t *workload.Auth) *[]string { return &t.Accept }),
	{
		key: "allow", doc: "what may be asked for without any of these",
		schema: maybeEmpty(listSchema(&allowedSection)),
		set: func(s *scope, t *workload.Auth, v value) {
			decodeList(s, &allowedSection, v, &t.Allow, func() workload.Allowed { return workload.Allowed{} })
		},
	},
	words("networking.auth.", "forward", "what the container is told: name, the caller's, as X-Cortex-Caller; subject, the id of the key, as X-Cortex-Caller-ID (default: nothing)",
		func(t *workload.Auth) *[]string { return &t.Forward }),
}}

var allowedSection = section[workload.Allowed]{fields: []field[workload.Allowed]{
	wordsNeeded("networking.auth.allow[].", "paths", "paths below the endpoint, each exactly, such as /healthz", func(t *workload.Allowed) *[]string { return &t.Paths }),
	words("networking.auth.allow[].", "methods", "methods, such as GET (default: all)", func(t *workload.Allowed) *[]string { return &t.Methods }),
	{
		key: "anyone", required: true, doc: "true: whoever reaches it",
		schema: fixed(object{"type": "boolean"}),
		set:    set((*scope).truth, func(t *workload.Allowed) *bool { return &t.Anyone }),
	},
}}

const inLimit = "networking.limits[]."

var limitSection = section[workload.Limit]{
	oneOf: []string{"rate", "concurrent", "quota"},
	fields: []field[workload.Limit]{
		word(inLimit, "name", "its name, unique in the API, by which answers call it", func(t *workload.Limit) *string { return &t.Name }),
		word(inLimit, "per", "caller: for each caller; address: for each address, or each /64 of IPv6 (default: for all together)", func(t *workload.Limit) *string { return &t.Per }),
		word(inLimit, "rate", "how many requests in each second, minute or hour, such as 10/s", func(t *workload.Limit) *string { return &t.Rate }),
		{
			key: "burst", doc: "of a rate: how many may come at once (default: what comes in a second, at least 1)",
			schema: wholeSchema(inLimit+"burst", nil),
			set:    set((*scope).int64, func(t *workload.Limit) *int64 { return &t.Burst }),
		},
		{
			key: "concurrent", doc: "how many requests are under way at once",
			schema: wholeSchema(inLimit+"concurrent", nil),
			set:    set((*scope).int64, func(t *workload.Limit) *int64 { return &t.Concurrent }),
		},
		word(inLimit, "quota", "how many requests in a window, which all begin at once, at a multiple of its length since 1970 in UTC, such as 10000/1d", func(t *workload.Limit) *string { return &t.Quota }),
	},
}

// wordsNeeded is a list of at least one word.
func wordsNeeded[T any](path, key, doc string, into func(*T) *[]string) field[T] {
	f := words(path, key, doc, into)
	f.required = true
	f.schema = func(workload.Kind) object {
		return object{"type": "array", "minItems": 1, "items": shapeSchema(path + key + "[]")}
	}
	return f
}

// maybeEmpty describes a list that may be empty, which says what an absent one does.
func maybeEmpty(schema func(workload.Kind) object) func(workload.Kind) object {
	return func(k workload.Kind) object { o := schema(k); delete(o, "minItems"); return o }
}
