package workload

import (
	"slices"
	"strings"
)

// Stable codes of the rules (REFERENCE section 11). Scripts match them.
const (
	CodeMalformed           = "spec.malformed_config"
	CodeNoAPIs              = "spec.no_apis"
	CodeDuplicateName       = "spec.duplicate_name"
	CodeDuplicateEndpoint   = "spec.duplicate_endpoint_in_one_deploy"
	CodeDuplicateHost       = "spec.duplicate_host_in_one_deploy"
	CodeDuplicateContainer  = "spec.duplicate_container_name"
	CodeFieldNotForKind     = "spec.field_is_not_supported_for_kind"
	CodeFieldNeededForKind  = "spec.field_must_be_specified_for_kind"
	CodeExactlyOneField     = "spec.specify_exactly_one_field"
	CodeComputeConflict     = "spec.compute_resource_conflict"
	CodeShmExceedsMem       = "spec.shm_cannot_exceed_mem"
	CodeReservedEnv         = "spec.cortex_prefixed_env_var_not_allowed"
	CodeMinAboveMax         = "spec.min_replicas_greater_than_max"
	CodeInitAboveMax        = "spec.init_replicas_greater_than_max"
	CodeInitBelowMin        = "spec.init_replicas_less_than_min"
	CodeTargetInFlight      = "spec.target_in_flight_limit_reached"
	CodeInvalidShare        = "spec.invalid_surge_or_unavailable"
	CodeSharesBothZero      = "spec.surge_and_unavailable_both_zero"
	CodeSplitterWeight      = "spec.incorrect_traffic_splitter_weight"
	CodeSplitterNotUnique   = "spec.traffic_splitter_apis_not_unique"
	CodeSplitterShadows     = "spec.one_shadow_per_traffic_splitter"
	CodeTargetNotDeployed   = "resources.apis_not_deployed"
	CodeNoNodeGroup         = "resources.invalid_node_group_selector"
	CodeNoCapacity          = "resources.no_available_node_compute_limit"
	CodeUnsupportedKey      = "configreader.unsupported_key"
	CodeMustBeDefined       = "configreader.must_be_defined"
	CodeCannotBeEmpty       = "configreader.cannot_be_empty"
	CodeCannotBeNull        = "configreader.cannot_be_null"
	CodeCannotBeNullOrEmpty = "configreader.cannot_be_empty_or_null" // of what has keys of its own
	CodeTooFewElements      = "configreader.too_few_elements"
	CodeCannotHavePrefix    = "configreader.cant_have_prefix"
	CodeQuantity            = "k8s.parse_quantity"
	CodeTooLong             = "configreader.too_long"
	CodeInvalidString       = "configreader.invalid_str"
	CodeDisallowedValue     = "configreader.disallowed_value"
	CodePrimitiveType       = "configreader.invalid_primitive_type"
	CodeNotMultiple         = "configreader.is_not_multiple"
	CodeGreaterThan         = "configreader.must_be_greater_than"
	CodeGreaterOrEqual      = "configreader.must_be_greater_than_or_equal_to"
	CodeLessThan            = "configreader.must_be_less_than"
	CodeLessOrEqual         = "configreader.must_be_less_than_or_equal_to"
	CodeInvalidImage        = "configreader.invalid_docker_image"
	CodeNodeGroupCharacters = "configreader.alpha_numeric_dash_underscore"
	CodeDuplicatedValue     = "configreader.duplicated_value"
	CodeDNS1035             = "urls.dns1035"
	CodeEndpoint            = "urls.endpoint"
	CodeEndpointEmpty       = "urls.endpoint_empty_path"
	CodeEndpointSlashes     = "urls.endpoint_double_slash"
	CodeHost                = "urls.host"
	CodeJobExactlyOne       = "job.specify_exactly_one_key"
	CodeJobConflict         = "job.conflicting_fields"
	CodeSecretInCommand     = "spec.secret_in_command"
	CodeJobItemTooLarge     = "batchapi.item_size_exceeds_limit"
)

// Violation is one rule that a spec breaks.
type Violation struct {
	Index   int      // of the spec in its set; ValidateSet only
	Path    string   // key path within the spec, such as pod.containers[0].name
	Code    string   // stable
	Message string   // what is wrong, in one sentence
	OfKey   bool     // the last key of Path is wrong, not its value
	Found   string   // the value as it stands, or the key
	Allowed string   // what would be accepted
	Hint    string   // what to do
	Related []string // other key paths whose values the rule compares
}

// violations collects what is wrong, so that all of it is told at once.
type violations struct{ list []Violation }

func (vs *violations) add(v Violation) { vs.list = append(vs.list, v) }

// has reports whether the value at path was refused, so that no rule need compare it.
func (vs *violations) has(path string) bool {
	return slices.ContainsFunc(vs.list, func(v Violation) bool { return v.Path == path })
}

// orList joins words for a sentence: a, b or c.
func orList(words []string) string {
	switch len(words) {
	case 0:
		return ""
	case 1:
		return words[0]
	}
	return strings.Join(words[:len(words)-1], ", ") + " or " + words[len(words)-1]
}
