package process

// CanBoundMemory reports whether control groups can be made here.
func CanBoundMemory() bool {
	g := openGroups("probe")
	defer g.close()
	return g.memory != ""
}
