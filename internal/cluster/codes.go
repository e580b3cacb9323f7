package cluster

// Stable codes of the rules about a cluster file. Those of cortex 0.42 are kept word
// for word, its misspelling of Alveo included: scripts match them.
const (
	CodeDisallowedField        = "clusterconfig.disallowed_field"
	CodeInvalidProvider        = "clusterconfig.invalid_provider"
	CodeInvalidLegacyProvider  = "clusterconfig.invalid_legacy_provider"
	CodeInvalidRegion          = "clusterconfig.invalid_region"
	CodeClusterName            = "clusterconfig.did_not_match_strict_s3_regex"
	CodeMaxInstancesZero       = "clusterconfig.node_group_max_instances_is_zero"
	CodeTooManyGroups          = "clusterconfig.max_num_of_nodegroups_reached"
	CodeDuplicateGroup         = "clusterconfig.duplicate_nodegroup_name"
	CodeTooManyNodes           = "clusterconfig.max_nodes_to_add_on_cluster_up"
	CodeTooManyNodesConfigure  = "clusterconfig.max_nodes_to_add_on_cluster_configure"
	CodeInvalidInstanceType    = "clusterconfig.invalid_instance_type"
	CodeTypeTooSmall           = "clusterconfig.instance_type_too_small"
	CodeTypeNotInRegion        = "clusterconfig.instance_type_not_supported_in_region"
	CodeTypeNotSupported       = "clusterconfig.instance_type_not_supported_by_cortex"
	CodeAMDGPU                 = "clusterconfig.amd_gpu_instances_not_supported"
	CodeMac                    = "clusterconfig.mac_instances_not_supported"
	CodeFPGA                   = "clusterconfig.fpga_instances_not_supported"
	CodeAlveo                  = "clusterconfig.alevo_instances_not_supported"
	CodeGaudi                  = "clusterconfig.gaudi_instances_not_supported"
	CodeTrainium               = "clusterconfig.trainium_instances_not_supported"
	CodeMinAboveMax            = "clusterconfig.min_instances_greater_than_max"
	CodeSpotNotEnabled         = "clusterconfig.configured_when_spot_is_not_enabled"
	CodeBaseAboveMax           = "clusterconfig.on_demand_base_capacity_greater_than_max"
	CodeSpotMemory             = "clusterconfig.incompatible_spot_instance_type_memory"
	CodeSpotCPU                = "clusterconfig.incompatible_spot_instance_type_cpu"
	CodeSpotGPU                = "clusterconfig.incompatible_spot_instance_type_gpu"
	CodeSpotInf                = "clusterconfig.incompatible_spot_instance_type_inf"
	CodeSpotPrice              = "clusterconfig.spot_price_greater_than_target_on_demand"
	CodeInvalidZone            = "clusterconfig.invalid_availability_zone"
	CodeZoneTwice              = "clusterconfig.availability_zone_specified_twice"
	CodeUnsupportedZone        = "clusterconfig.unsupported_availability_zone"
	CodeNotEnoughZones         = "clusterconfig.not_enough_valid_default_availability_zones"
	CodeNATWithSubnets         = "clusterconfig.no_nat_gateway_with_subnets"
	CodeNATRequired            = "clusterconfig.nat_required_with_private_subnet_visibility"
	CodeSubnetMask             = "clusterconfig.subnet_mask_out_of_range"
	CodeOneOrNone              = "clusterconfig.specify_one_or_none"
	CodeTwoOrNone              = "clusterconfig.specify_two_or_none"
	CodeIOPSNotSupported       = "clusterconfig.iops_not_supported"
	CodeThroughputNotSupported = "clusterconfig.throughput_not_supported"
	CodeIOPSTooSmall           = "clusterconfig.iops_too_small"
	CodeIOPSTooLarge           = "clusterconfig.iops_too_large"
	CodeIOPSToSize             = "clusterconfig.iops_to_volume_size_ratio"
	CodeIOPSToThroughput       = "clusterconfig.iops_to_throughput_ratio"
	CodeDefaultTag             = "clusterconfig.cant_override_default_tag"
	CodeCertificateNotFound    = "clusterconfig.ssl_certificate_arn_not_found"
	CodePolicyNotFound         = "clusterconfig.iam_policy_arn_not_found"
	CodeCannotChange           = "clusterconfig.config_cannot_be_changed_on_configure"
	CodeOnlyScaled             = "clusterconfig.node_group_can_only_be_scaled"
	CodeImageVersion           = "configreader.image_version_mismatch"
	CodeInvalidTag             = "configreader.invalid_aws_tag"
	CodePrefix                 = "configreader.cant_have_prefix"
	CodeLeadingSpace           = "configreader.leading_whitespace"
	CodeTrailingSpace          = "configreader.trailing_whitespace"
	CodeTooShort               = "configreader.too_short"
	CodeTooFew                 = "configreader.too_few_elements"
	CodeTooMany                = "configreader.too_many_elements"
	CodeWrongNumber            = "configreader.wrong_number_of_elements"

	// Ours.
	CodeNotPossible      = "clusterconfig.not_possible"           // 0.42 could, or AWS cannot; the message says which and why
	CodeNoEffect         = "clusterconfig.no_effect"              // a warning: the key is read and changes nothing
	CodeEveryBucket      = "clusterconfig.every_bucket"           // a warning: what APIs may do by default
	CodeNoGroups         = "clusterconfig.no_nodegroup_specified" // a warning: 0.31 to 0.33 refused it
	CodeOldKey           = "clusterconfig.old_key"                // a warning: the key is called something else today
	CodeMixedForms       = "clusterconfig.old_and_new_keys"       // keys of 0.20 to 0.30 beside node_groups
	CodeSubnetNotFound   = "clusterconfig.subnet_not_found"       // the account has no such subnet
	CodeArchitecture     = "clusterconfig.incompatible_spot_instance_type_architecture"
	CodeVersionNotFound  = "clusterconfig.kubernetes_version_not_available"
	CodeQuota            = "clusterconfig.quota_exceeded"
	CodeFactsIncomplete  = "clusterconfig.facts_incomplete" // what was read of AWS does not hold what the plan needs
	CodeFactsUnreadable  = "clusterconfig.facts_unreadable"
	CodeFactsOfElsewhere = "clusterconfig.facts_of_another_region"
)
