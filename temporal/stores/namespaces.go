package stores

import (
	"context"
	"errors"
	"sync"
	"time"

	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/api/serviceerror"
	persistencespb "go.temporal.io/server/api/persistence/v1"
	"go.temporal.io/server/common/log/tag"
	"go.temporal.io/server/common/persistence"
	"google.golang.org/protobuf/types/known/durationpb"

	"strongroom/temporal/internal/wire"
)

// kekSetting is the key in a namespace's data that names the KEK of its keys. Without it the rule in the cell's configuration decides.
const kekSetting = "strongroom.kek"

// placeholderNamespace begins the name of a namespace whose own name can't be read now.
const placeholderNamespace = "strongroom-unavailable-"

// placeholderMark is a key in the data of a placeholder. A change of a namespace that was read as a placeholder is refused, because it
// would replace all settings.
const placeholderMark = "strongroom.placeholder"

// placeholderRetention is long, so that nothing is deleted for the settings of a placeholder.
const placeholderRetention = 10 * 365 * 24 * time.Hour

type metadataStore struct {
	base
	clusterName string
	known       knownNamespaces
}

var _ persistence.MetadataStore = (*metadataStore)(nil)

func newMetadataStore(shared base, clusterName string) *metadataStore {
	store := &metadataStore{base: shared, clusterName: clusterName}
	store.known.byID = map[string]*persistence.InternalGetNamespaceResponse{}
	store.known.names = map[string]string{}
	return store
}

// knownNamespaces are the namespaces as they were last read, and the names of look-ups that found others.
type knownNamespaces struct {
	lock  sync.Mutex
	byID  map[string]*persistence.InternalGetNamespaceResponse
	names map[string]string
}

func (k *knownNamespaces) set(record namespaceRecord) {
	k.lock.Lock()
	defer k.lock.Unlock()
	k.byID[record.id] = record.response
	delete(k.names, record.id)
}

// setName stores the name of a look-up that found a namespace without its keys.
func (k *knownNamespaces) setName(id, name string) {
	k.lock.Lock()
	defer k.lock.Unlock()
	k.names[id] = name
}

func (k *knownNamespaces) nameOf(id string) string {
	k.lock.Lock()
	defer k.lock.Unlock()
	if name := k.names[id]; name != "" {
		return name
	}
	return placeholderNamespace + id
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
	delete(k.names, id)
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

// GetNamespace never fails for a namespace whose keys are away: Temporal's registry takes each failure of a look-up for a namespace
// that does not exist, drops its tasks, and answers its callers with NotFound, after which their workers end. The registry gets the
// namespace as it was last read, or a placeholder. A look-up by id also returns one after any other failure.
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
		r.field("unavailable").Bool(true)
	}
	var record namespaceRecord
	err := ask(ctx, s, r, func(reader *wire.Reader) { record = readNamespace(reader) })
	switch {
	case err == nil && record.isTemporals():
		s.known.set(record)
		return record.response, nil
	case err == nil && record.unreadable && !record.why.permanent:
		s.logger.Warn("A namespace can't be read now.", tag.WorkflowNamespaceID(record.id), tag.String("reason", record.why.message))
		return s.lastReadOf(record, request.Name)
	case err == nil, isNotFound(err):
		return nil, serviceerror.NewNamespaceNotFound(request.ID + request.Name)
	case request.ID == "":
		s.logger.Warn("A look-up of a namespace by its name failed. The registry treats it as a namespace that does not exist.", tag.Error(err))
		return nil, err
	case errors.As(err, new(*persistence.InvalidPersistenceRequestError)):
		return nil, err
	}
	s.logger.Warn("A namespace can't be read now.", tag.WorkflowNamespaceID(request.ID), tag.Error(err))
	return s.lastRead(namespaceRecord{id: request.ID, response: &persistence.InternalGetNamespaceResponse{}})
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
	detail, err := s.serializer.NamespaceDetailFromBlob(request.Namespace)
	if err != nil {
		return &persistence.InvalidPersistenceRequestError{Msg: "the namespace's settings can't be decoded"}
	}
	if detail.GetInfo().GetData()[placeholderMark] != "" {
		return notNow("the namespace", reason{message: "its keys were not available when its settings were read"})
	}
	r.uuid("namespace_id", request.Id)
	r.field("data").Blob(request.Namespace)
	r.field("is_global").Bool(request.IsGlobal)
	r.field("notification_version").Int(request.NotificationVersion)
	err = run(ctx, s, r)
	if errors.As(err, new(*persistence.ConditionFailedError)) || errors.As(err, new(*serviceerror.NamespaceAlreadyExists)) {
		return serviceerror.NewUnavailable(err.Error())
	}
	return err
}

func (s *metadataStore) DeleteNamespace(ctx context.Context, request *persistence.DeleteNamespaceRequest) error {
	r := newWrite("metadata.delete_namespace")
	r.uuid("namespace_id", request.ID)
	return s.remove(ctx, r)
}

func (s *metadataStore) DeleteNamespaceByName(ctx context.Context, request *persistence.DeleteNamespaceByNameRequest) error {
	r := newWrite("metadata.delete_namespace_by_name")
	r.field("name").Text(request.Name)
	return s.remove(ctx, r)
}

// remove sends a deletion. Deleting a namespace that does not exist is not an error.
func (s *metadataStore) remove(ctx context.Context, r *request) error {
	if err := run(ctx, s, r); err != nil && !isNotFound(err) {
		return err
	}
	return nil
}

// ListNamespaces returns the namespaces that Temporal created. One that can't be read now is returned as it was last read, because the
// registry forgets a namespace that a list does not have, and drops its tasks. A page is short only at the end.
func (s *metadataStore) ListNamespaces(
	ctx context.Context, request *persistence.InternalListNamespacesRequest,
) (*persistence.InternalListNamespacesResponse, error) {
	response := &persistence.InternalListNamespacesResponse{NextPageToken: request.NextPageToken}
	for {
		records, token, err := s.namespacePage(ctx, request.PageSize-len(response.Namespaces), response.NextPageToken)
		if err != nil {
			return nil, err
		}
		for _, record := range records {
			listed, err := s.listed(record)
			if err != nil {
				return nil, err
			}
			if listed != nil {
				response.Namespaces = append(response.Namespaces, listed)
			}
		}
		response.NextPageToken = token
		if len(token) == 0 || len(response.Namespaces) >= request.PageSize {
			return response, nil
		}
	}
}

func (s *metadataStore) namespacePage(ctx context.Context, size int, after []byte) (records []namespaceRecord, token []byte, err error) {
	r := newRead("metadata.list_namespaces")
	r.page(size, after)
	err = ask(ctx, s, r, func(reader *wire.Reader) {
		token = readPage(reader, "namespaces", collect(&records, reader, readNamespace), nil)
	})
	return records, token, err
}

// listed returns the entry of a row in the list; nil if the row has no entry.
func (s *metadataStore) listed(record namespaceRecord) (*persistence.InternalGetNamespaceResponse, error) {
	switch {
	case record.isTemporals():
		s.known.set(record)
		return record.response, nil
	case record.why.permanent && !record.why.damaged:
		s.known.forget(record.id)
		return nil, nil
	case !record.unreadable:
		return nil, nil
	case record.why.damaged:
		s.logger.Error("The row of a namespace was altered.", tag.WorkflowNamespaceID(record.id), tag.String("reason", record.why.message))
	default:
		s.logger.Warn("A namespace can't be read now.", tag.WorkflowNamespaceID(record.id), tag.String("reason", record.why.message))
	}
	return s.lastRead(record)
}

// lastReadOf returns a namespace that was found by its name, as it was last read. Tokens of names are not authenticated, so the name in
// the row is compared if it is known.
func (s *metadataStore) lastReadOf(record namespaceRecord, name string) (*persistence.InternalGetNamespaceResponse, error) {
	s.known.setName(record.id, name)
	found, err := s.lastRead(record)
	if err != nil {
		return nil, err
	}
	detail, err := s.serializer.NamespaceDetailFromBlob(found.Namespace)
	if err != nil {
		return nil, err
	}
	if detail.GetInfo().GetName() != name {
		return nil, serviceerror.NewDataLoss("the row that was found by the name belongs to a namespace with another name")
	}
	return found, nil
}

// lastRead returns a namespace as it was last read. A process that never read it gets a placeholder, whose calls fail until the
// namespace's keys are available. The registry replaces the placeholder when a list has the namespace again.
func (s *metadataStore) lastRead(record namespaceRecord) (*persistence.InternalGetNamespaceResponse, error) {
	if known := s.known.get(record.id); known != nil {
		return known, nil
	}
	detail, err := s.serializer.NamespaceDetailToBlob(&persistencespb.NamespaceDetail{
		Info: &persistencespb.NamespaceInfo{
			Id: record.id, Name: s.known.nameOf(record.id), State: enumspb.NAMESPACE_STATE_REGISTERED,
			Data: map[string]string{placeholderMark: "true"},
		},
		Config: &persistencespb.NamespaceConfig{
			Retention:               durationpb.New(placeholderRetention),
			HistoryArchivalState:    enumspb.ARCHIVAL_STATE_DISABLED,
			VisibilityArchivalState: enumspb.ARCHIVAL_STATE_DISABLED,
		},
		ReplicationConfig: &persistencespb.NamespaceReplicationConfig{ActiveClusterName: s.clusterName, Clusters: []string{s.clusterName}},
	})
	if err != nil {
		return nil, err
	}
	return &persistence.InternalGetNamespaceResponse{
		Namespace: detail, IsGlobal: record.response.IsGlobal, NotificationVersion: record.response.NotificationVersion,
	}, nil
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
	why        reason
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
			record.why, record.unreadable = readUnreadable(reader)
		}
	})
	return record
}

func isNotFound(err error) bool {
	return errors.As(err, new(*serviceerror.NotFound)) || errors.As(err, new(*serviceerror.NamespaceNotFound))
}
