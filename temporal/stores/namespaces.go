package stores

import (
	"context"
	"errors"
	"sync"

	"go.temporal.io/api/serviceerror"
	"go.temporal.io/server/common/log/tag"
	"go.temporal.io/server/common/persistence"

	"strongroom/temporal/internal/wire"
)

// kekSetting is the key in a namespace's data that names the KEK of its keys. Without it the rule in the cell's configuration decides.
const kekSetting = "strongroom.kek"

type metadataStore struct {
	base
	known knownNamespaces
}

var _ persistence.MetadataStore = (*metadataStore)(nil)

func newMetadataStore(shared base) *metadataStore {
	return &metadataStore{base: shared, known: knownNamespaces{byID: map[string]*persistence.InternalGetNamespaceResponse{}}}
}

// knownNamespaces are the namespaces that the last list had. While a namespace's keys are not available it stays in the list as it was,
// because Temporal's registry forgets a namespace that a list does not have.
type knownNamespaces struct {
	lock sync.Mutex
	byID map[string]*persistence.InternalGetNamespaceResponse
}

func (k *knownNamespaces) set(id string, response *persistence.InternalGetNamespaceResponse) {
	k.lock.Lock()
	defer k.lock.Unlock()
	k.byID[id] = response
}

func (k *knownNamespaces) get(id string) *persistence.InternalGetNamespaceResponse {
	k.lock.Lock()
	defer k.lock.Unlock()
	return k.byID[id]
}

func (k *knownNamespaces) forget(id string) {
	k.lock.Lock()
	defer k.lock.Unlock()
	delete(k.byID, id)
}

func (s *metadataStore) CreateNamespace(
	ctx context.Context, request *persistence.InternalCreateNamespaceRequest,
) (*persistence.CreateNamespaceResponse, error) {
	detail, err := s.serializer.NamespaceDetailFromBlob(request.Namespace)
	if err != nil {
		return nil, &persistence.InvalidPersistenceRequestError{Msg: "the namespace's settings can't be decoded"}
	}
	r := newWrite("metadata.create_namespace")
	r.uuid("namespace_id", request.ID)
	r.field("name").Text(request.Name)
	r.field("data").Blob(request.Namespace)
	if kek := detail.GetInfo().GetData()[kekSetting]; kek != "" {
		r.field("kek").Text(kek)
	}
	r.field("is_global").Bool(request.IsGlobal)
	if err := run(ctx, s, r); err != nil {
		return nil, err
	}
	return &persistence.CreateNamespaceResponse{ID: request.ID}, nil
}

func (s *metadataStore) GetNamespace(
	ctx context.Context, request *persistence.GetNamespaceRequest,
) (*persistence.InternalGetNamespaceResponse, error) {
	if (request.ID == "") == (request.Name == "") {
		return nil, serviceerror.NewInvalidArgument("GetNamespace needs either the namespace's id or its name")
	}
	r := newRead("metadata.get_namespace")
	if request.ID != "" {
		r.uuid("namespace_id", request.ID)
	} else {
		r.field("name").Text(request.Name)
	}
	var record namespaceRecord
	err := ask(ctx, s, r, func(reader *wire.Reader) { record = readNamespace(reader) })
	switch {
	case err == nil && record.isTemporals():
		s.known.set(record.id, record.response)
		return record.response, nil
	case err == nil, isNotFound(err):
		return nil, serviceerror.NewNamespaceNotFound(request.ID + request.Name)
	default:
		return nil, err
	}
}

func (s *metadataStore) UpdateNamespace(ctx context.Context, request *persistence.InternalUpdateNamespaceRequest) error {
	r := newWrite("metadata.update_namespace")
	return s.change(ctx, r, request)
}

func (s *metadataStore) RenameNamespace(ctx context.Context, request *persistence.InternalRenameNamespaceRequest) error {
	r := newWrite("metadata.rename_namespace")
	r.field("name").Text(request.Name)
	return s.change(ctx, r, request.InternalUpdateNamespaceRequest)
}

// change sends a change of a namespace. Temporal expects Unavailable where the table or the name is another one than the caller knows,
// and then reads again.
func (s *metadataStore) change(
	ctx context.Context, r *request, request *persistence.InternalUpdateNamespaceRequest,
) error {
	r.uuid("namespace_id", request.Id)
	r.field("data").Blob(request.Namespace)
	r.field("is_global").Bool(request.IsGlobal)
	r.field("notification_version").Int(request.NotificationVersion)
	err := run(ctx, s, r)
	if errors.As(err, new(*persistence.ConditionFailedError)) || errors.As(err, new(*serviceerror.NamespaceAlreadyExists)) {
		return serviceerror.NewUnavailable(err.Error())
	}
	return err
}

func (s *metadataStore) DeleteNamespace(ctx context.Context, request *persistence.DeleteNamespaceRequest) error {
	r := newWrite("metadata.delete_namespace")
	r.uuid("namespace_id", request.ID)
	return run(ctx, s, r)
}

func (s *metadataStore) DeleteNamespaceByName(ctx context.Context, request *persistence.DeleteNamespaceByNameRequest) error {
	r := newWrite("metadata.delete_namespace_by_name")
	r.field("name").Text(request.Name)
	return run(ctx, s, r)
}

// ListNamespaces returns the namespaces that Temporal created. One whose keys are not available now is returned as it was last read,
// and left out if this process never read it.
func (s *metadataStore) ListNamespaces(
	ctx context.Context, request *persistence.InternalListNamespacesRequest,
) (*persistence.InternalListNamespacesResponse, error) {
	r := newRead("metadata.list_namespaces")
	r.page(request.PageSize, request.NextPageToken)
	response := &persistence.InternalListNamespacesResponse{}
	var records []namespaceRecord
	err := ask(ctx, s, r, func(reader *wire.Reader) {
		reader.Fields(func(name string) {
			switch name {
			case "namespaces":
				reader.Elements(func() { records = append(records, readNamespace(reader)) })
			case "next_page_token":
				response.NextPageToken = reader.Raw()
			}
		})
	})
	if err != nil {
		return nil, err
	}
	for _, record := range records {
		if listed := s.listed(record); listed != nil {
			response.Namespaces = append(response.Namespaces, listed)
		}
	}
	return response, nil
}

func (s *metadataStore) listed(record namespaceRecord) *persistence.InternalGetNamespaceResponse {
	switch {
	case record.isTemporals():
		s.known.set(record.id, record.response)
		return record.response
	case record.permanent:
		s.known.forget(record.id)
		return nil
	case !record.unreadable:
		return nil
	}
	known := s.known.get(record.id)
	s.logger.Warn("A namespace can't be read now.", tag.WorkflowNamespaceID(record.id), tag.Bool("listed-as-last-read", known != nil))
	return known
}

func (s *metadataStore) GetMetadata(ctx context.Context) (*persistence.GetMetadataResponse, error) {
	response := &persistence.GetMetadataResponse{}
	err := ask(ctx, s, newRead("metadata.get_metadata"), func(reader *wire.Reader) {
		response.NotificationVersion = reader.Int()
	})
	if err != nil {
		return nil, err
	}
	return response, nil
}

// namespaceRecord is a NamespaceRecord.
type namespaceRecord struct {
	id         string
	response   *persistence.InternalGetNamespaceResponse
	unreadable bool
	permanent  bool
}

// isTemporals is whether Temporal created the namespace. Others have no settings that it could use.
func (r namespaceRecord) isTemporals() bool {
	return !r.unreadable && len(r.response.Namespace.GetData()) > 0
}

func readNamespace(reader *wire.Reader) namespaceRecord {
	record := namespaceRecord{response: &persistence.InternalGetNamespaceResponse{}}
	reader.Fields(func(name string) {
		switch name {
		case "namespace_id":
			record.id = reader.UUID()
		case "data":
			record.response.Namespace = reader.Blob()
		case "is_global":
			record.response.IsGlobal = reader.Bool()
		case "notification_version":
			record.response.NotificationVersion = reader.Int()
		case "unreadable":
			if why, ok := readUnreadable(reader); ok {
				record.unreadable, record.permanent = true, why.permanent
			}
		}
	})
	return record
}

func isNotFound(err error) bool {
	return errors.As(err, new(*serviceerror.NotFound)) || errors.As(err, new(*serviceerror.NamespaceNotFound))
}
