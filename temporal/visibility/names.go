package visibility

import (
	"regexp"
	"strings"

	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/server/chasm"
	"go.temporal.io/server/common/namespace"
	"go.temporal.io/server/common/persistence/visibility/store/query"
	"go.temporal.io/server/common/searchattribute"
)

// words finds all names in a list filter that need no quotes.
var words = regexp.MustCompile(`[A-Za-z_@][\w@$]*(?:\.[A-Za-z_@][\w@$]*)*`)

// namesIn returns everything in a list filter that can be the name of a search attribute: each word, and what is between two quotes.
// Words in texts do no harm, and a quote in a text hides no name.
func namesIn(filter string) []string {
	return append(words.FindAllString(filter, -1), strings.Split(filter, "`")...)
}

// field is a search attribute with the name that records have it under.
type field struct {
	name string
	kind enumspb.IndexedValueType
}

// fieldsOf returns the search attributes that a list filter names, by the names in the filter.
//
// Temporal's own function finds the field of a name: aliases of the namespace come first, then those of the CHASM component, then the
// attributes that every namespace has. Names that it does not find are left out; the cell knows a few more, and refuses the others.
func fieldsOf(
	filter string,
	namespaceName namespace.Name,
	mapper searchattribute.Mapper,
	known searchattribute.NameTypeMap,
	component *chasm.VisibilitySearchAttributesMapper,
) map[string]field {
	fields := map[string]field{}
	for _, name := range namesIn(filter) {
		if _, seen := fields[name]; seen {
			continue
		}
		if found, kind, err := query.ResolveSearchAttributeAlias(name, namespaceName, mapper, known, component); err == nil {
			fields[name] = field{found, kind}
		}
	}
	return fields
}
