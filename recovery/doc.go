// Package recovery finds the way from an archive's history to a database as it
// was.
//
// A person names a [Target]; [Resolve] turns it into a [Point] between two
// transactions. [MakePlan] decides from the chain alone what to read for it,
// and [At] reads that: the database's rows at the point, sorted and proved.
// [Windows] says which points there are.
package recovery
