package manifest

import "cortex.dev/cortex/internal/workload"

var authSection = section[workload.Auth]{fields: []field[workload.Auth]{
	wordsNeeded("networking.auth.", "accept", "what proves a caller, one or more of them: keys, which cortex keys create makes; jwt, tokens of an issuer; iam, AWS identities, by sessions that cortex token makes", func(t *workload.Auth) *[]string { return &t.Accept }),
	{
		key: "jwt", doc: "what is asked of tokens",
		schema: sectionSchema(&jwtSection),
		set: func(s *scope, t *workload.Auth, v value) {
			if j := (&workload.JWT{}); decodeSection(s, &jwtSection, v, j) {
				t.JWT = j
			}
		},
	},
	{
		key: "allow", doc: "what may be asked for without any of these",
		schema: orEmpty(listSchema(&allowedSection)),
		set: func(s *scope, t *workload.Auth, v value) {
			decodeList(s, &allowedSection, v, &t.Allow, func() workload.Allowed { return workload.Allowed{} })
		},
	},
	words("networking.auth.", "forward", "what the container is told: subject, the name of the key or the subject of the token, as X-Cortex-Caller; name, that of the key, or what the token has as name, as X-Cortex-Caller-Name (default: nothing)",
		func(t *workload.Auth) *[]string { return &t.Forward }),
}}

const inJWT = "networking.auth.jwt."

var jwtSection = section[workload.JWT]{fields: []field[workload.JWT]{
	word(inJWT, "issuer", "who issues them: the claim iss, exactly", func(t *workload.JWT) *string { return &t.Issuer }),
	word(inJWT, "audience", "for whom they have to be: the claim aud, or one of its list", func(t *workload.JWT) *string { return &t.Audience }),
	word(inJWT, "keys", "the address of the issuer's public keys (default: where the issuer's /.well-known/openid-configuration says)", func(t *workload.JWT) *string { return &t.Keys }),
	wordsNeeded(inJWT, "algorithms", "by which they may be signed, such as [RS256, ES256]", func(t *workload.JWT) *[]string { return &t.Algorithms }),
	textMap(inJWT, "require", "claims that each has to have, with a value that it is, or that is in its list; of scope, one of its words", func(t *workload.JWT) *map[string]string { return &t.Require }),
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
