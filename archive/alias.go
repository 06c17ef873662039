package archive

import (
	"github.com/tidemarkdb/tidemark/chain"
	"github.com/tidemarkdb/tidemark/recovery"
)

// What moved to packages chain and recovery, for as long as others still look
// for it here.

type (
	Announced[T any]  = chain.Announced[T]
	Checkpoint        = chain.Checkpoint
	Claim             = chain.Claim
	Close             = chain.Close
	CollectionDigest  = chain.CollectionDigest
	Count             = chain.Count
	Coverage          = chain.Coverage
	Digest            = chain.Digest
	Epoch             = chain.Epoch
	Gap               = chain.Gap
	Hold              = chain.Hold
	Kind              = chain.Kind
	Label             = chain.Label
	Manifest          = chain.Manifest
	Origin            = chain.Origin
	Over              = chain.Over
	PackKey           = chain.PackKey
	PackKind          = chain.PackKind
	RepoID            = chain.RepoID
	ChainError        = chain.RuleError
	SchemaChange      = chain.SchemaChange
	Segment           = chain.Segment
	SegmentBuilder    = chain.SegmentBuilder
	Seq               = chain.Seq
	Snapshot          = chain.Snapshot
	Source            = chain.Source
	Span              = chain.Span
	State             = chain.State
	Summary           = chain.Summary
	TimelineID        = chain.TimelineID
	Tombstone         = chain.Tombstone
	TxSize            = chain.TxSize
	AtOptions         = recovery.AtOptions
	Discards          = recovery.Discards
	Estimate          = recovery.Estimate
	InsideTxError     = recovery.InsideTxError
	Moment            = recovery.Moment
	Plan              = recovery.Plan
	PlanBase          = recovery.PlanBase
	PlanSegment       = recovery.PlanSegment
	Point             = recovery.Point
	Reached           = recovery.Reached
	Rows              = recovery.Rows
	Target            = recovery.Target
	TargetKind        = recovery.TargetKind
	UnrestorableError = recovery.UnrestorableError
	Window            = recovery.Window
)

const (
	FormatVersion   = chain.FormatVersion
	KindCheckpoint  = chain.KindCheckpoint
	KindClaim       = chain.KindClaim
	KindClose       = chain.KindClose
	KindCoverage    = chain.KindCoverage
	KindDigest      = chain.KindDigest
	KindGap         = chain.KindGap
	KindHold        = chain.KindHold
	KindLabel       = chain.KindLabel
	KindSegment     = chain.KindSegment
	KindSnapshot    = chain.KindSnapshot
	LargestTxs      = chain.LargestTxs
	LogPack         = chain.LogPack
	MainTimeline    = chain.MainTimeline
	MaxManifest     = chain.MaxManifest
	OriginSource    = chain.OriginSource
	OriginSynthetic = chain.OriginSynthetic
	OverNothing     = chain.OverNothing
	OverStale       = chain.OverStale
	OverTakeover    = chain.OverTakeover
	RunPack         = chain.RunPack
	TargetLSN       = recovery.TargetLSN
	TargetLabel     = recovery.TargetLabel
	TargetLatest    = recovery.TargetLatest
	TargetTime      = recovery.TargetTime
	TargetTx        = recovery.TargetTx
)

var (
	CheckLabel         = chain.CheckLabel
	CheckTimeline      = chain.CheckTimeline
	CheckpointKey      = chain.CheckpointKey
	DecodeManifest     = chain.DecodeManifest
	Effective          = chain.Effective
	EffectiveFloor     = chain.EffectiveFloor
	HashManifest       = chain.HashManifest
	ManifestKey        = chain.ManifestKey
	NewSegmentBuilder  = chain.NewSegmentBuilder
	NewState           = chain.NewState
	ParseCheckpointKey = chain.ParseCheckpointKey
	ParseManifestKey   = chain.ParseManifestKey
	ParsePackKey       = chain.ParsePackKey
	SizeOf             = chain.SizeOf
	ErrChain           = chain.ErrBroken
	ErrDamaged         = chain.ErrDamaged
	ErrFenced          = chain.ErrFenced
	ErrLabelTaken      = chain.ErrLabelTaken
	ErrLocked          = chain.ErrLocked
	ErrManifest        = chain.ErrManifest
	ErrVersion         = chain.ErrVersion
	ErrWrongRepo       = chain.ErrWrongRepo
	At                 = recovery.At
	AtLSN              = recovery.AtLSN
	AtLabel            = recovery.AtLabel
	AtTime             = recovery.AtTime
	AtTx               = recovery.AtTx
	Latest             = recovery.Latest
	MakePlan           = recovery.MakePlan
	ParseTarget        = recovery.ParseTarget
	ParseTime          = recovery.ParseTime
	Resolve            = recovery.Resolve
	ErrInGap           = recovery.ErrInGap
	ErrInsideTx        = recovery.ErrInsideTx
	ErrNoLabel         = recovery.ErrNoLabel
	ErrNoPlan          = recovery.ErrNoPlan
	ErrNoTx            = recovery.ErrNoTx
	ErrOutside         = recovery.ErrOutside
)
