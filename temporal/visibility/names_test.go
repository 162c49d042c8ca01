package visibility

import (
	"reflect"
	"testing"

	"github.com/stretchr/testify/require"
	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/server/chasm"
	"go.temporal.io/server/common/namespace"
	"go.temporal.io/server/common/persistence/visibility/store/query"
	"go.temporal.io/server/common/searchattribute"
)

// A filter's attributes are found as in Temporal: aliases, fields, quoted names, and nothing for words that are no attributes.
func TestNamesInAFilter(t *testing.T) {
	mapper := &searchattribute.TestMapper{Namespace: "ns"}
	known := searchattribute.TestNameTypeMap()
	filter := "AliasForKeyword01 = 'AliasForInt01' AND `AliasWithHyphenFor-Text01` = 'x' OR ScheduleId = 'y' and Int02<3 and Nothing.At = 1 " +
		"and WorkflowId = 'z' ORDER BY ChangeVersion"
	keyword := enumspb.INDEXED_VALUE_TYPE_KEYWORD
	require.Equal(t, map[string]field{
		"AliasForKeyword01":         {"Keyword01", keyword},
		"AliasForInt01":             {"Int01", enumspb.INDEXED_VALUE_TYPE_INT},
		"AliasWithHyphenFor-Text01": {"Text01", enumspb.INDEXED_VALUE_TYPE_TEXT},
		"Text01":                    {"Text01", enumspb.INDEXED_VALUE_TYPE_TEXT}, // a word of a name in quotes
		"ScheduleId":                {"WorkflowId", keyword},
		"Int02":                     {"Int02", enumspb.INDEXED_VALUE_TYPE_INT},
		"WorkflowId":                {"WorkflowId", keyword},
		"ChangeVersion":             {"TemporalChangeVersion", enumspb.INDEXED_VALUE_TYPE_KEYWORD_LIST},
	}, fieldsOf(filter, "ns", mapper, known, nil))
}

// Each name is resolved as by Temporal's own function. From version 1.32 of the server on, the function also takes an archetype.
func TestNamesAreResolvedAsInTemporal(t *testing.T) {
	known := searchattribute.TestNameTypeMap()
	component := chasm.NewTestVisibilitySearchAttributesMapper(
		map[string]string{"TemporalInt01": "Attempts", "TemporalKeyword01": "State"},
		map[string]enumspb.IndexedValueType{
			"TemporalInt01": enumspb.INDEXED_VALUE_TYPE_INT, "TemporalKeyword01": enumspb.INDEXED_VALUE_TYPE_KEYWORD,
		})
	names := []string{
		"AliasForKeyword01", "AliasWithHyphenFor-Text01", "Keyword01", "Int02", "WorkflowId", "RunId", "ScheduleId", "ExecutionStatus",
		"ChangeVersion", "TemporalChangeVersion", "BuildIds", "TemporalNamespaceDivision", "NamespaceDivision", "TemporalWorkflowId",
		"TemporalStartTime", "StartTime", "Attempts", "State", "TemporalInt01", "TemporalTemporalInt01", "Temporal", "", "Nothing",
	}
	function := reflect.ValueOf(query.ResolveSearchAttributeAlias)
	for _, mapper := range []searchattribute.Mapper{&searchattribute.TestMapper{Namespace: "ns"}, &searchattribute.TestMapper{Namespace: "other"}} {
		for _, each := range []*chasm.VisibilitySearchAttributesMapper{nil, component} {
			for _, name := range names {
				arguments := []any{name, namespace.Name("ns"), mapper, known, each, chasm.ArchetypeID(0)}
				values := make([]reflect.Value, function.Type().NumIn())
				for i := range values {
					values[i] = reflect.ValueOf(arguments[i])
				}
				theirs := function.Call(values)
				ours, found := resolve(name, "ns", mapper, known, each)
				require.Equal(t, theirs[2].IsNil(), found, name)
				if found {
					require.Equal(t, field{theirs[0].String(), theirs[1].Interface().(enumspb.IndexedValueType)}, ours, name)
				}
			}
		}
	}
}

// A quote in a text hides no name, and a text with a quote in it does not break the names in quotes.
func TestNamesNextToTextsWithQuotes(t *testing.T) {
	mapper := &searchattribute.TestMapper{Namespace: "ns"}
	filter := "WorkflowType = 'a`b' AND AliasForKeyword01 = 'x`y' AND `AliasWithHyphenFor-Text01` = '`'"
	fields := fieldsOf(filter, "ns", mapper, searchattribute.TestNameTypeMap(), nil)
	for _, name := range []string{"WorkflowType", "AliasForKeyword01", "AliasWithHyphenFor-Text01"} {
		require.Contains(t, fields, name)
	}
}
