package chain

// What tests of the package need to see of its inside.
const (
	CheckField = checkField
	MaxLabel   = maxLabel
	MaxText    = maxText
)
