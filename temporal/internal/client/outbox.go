package client

// outgoing is a message on its way to the peer.
type outgoing struct {
	kind frameType
	id   uint32
	// head and body are the message. They are two, so that a call's arguments are not copied before they are framed.
	head, body []byte
	offset     int
	// sent is whether the last part was handed to the connection, so that the peer may act on the message.
	sent bool
	// withdrawn is whether no part of it may be sent any more.
	withdrawn bool
}

func (m *outgoing) size() int { return len(m.head) + len(m.body) }

// batchSize is the most bytes that are framed for one write, up to one frame more.
const batchSize = partSize

// outbox orders the messages of a connection. The messages that are being sent take turns, one part each, so that a large message does
// not delay small ones. Only some large messages are sent at a time, because the peer has a limit for all incomplete messages.
type outbox struct {
	turns   []*outgoing
	waiting []*outgoing
	// large is the number of bytes of the messages of several parts among the turns.
	large int
}

// mostLarge is the number of bytes of large messages that are sent at a time. One large message is always sent.
const mostLarge = incompleteSize / 2

func (o *outbox) add(m *outgoing) {
	if m.size() > partSize {
		if o.large > 0 && o.large+m.size() > mostLarge {
			o.waiting = append(o.waiting, m)
			return
		}
		o.large += m.size()
	}
	o.turns = append(o.turns, m)
}

// fill appends frames to b until batchSize is reached or nothing is left.
func (o *outbox) fill(b []byte) []byte {
	for len(b) < batchSize && len(o.turns) > 0 {
		m := o.turns[0]
		o.turns[0] = nil
		o.turns = o.turns[1:]
		if !m.withdrawn {
			b = m.appendPart(b)
			if !m.sent {
				o.turns = append(o.turns, m)
				continue
			}
		}
		o.finish(m)
	}
	return b
}

// finish makes room for the large messages that wait.
func (o *outbox) finish(m *outgoing) {
	if m.size() <= partSize {
		return
	}
	o.large -= m.size()
	for len(o.waiting) > 0 && (o.large == 0 || o.large+o.waiting[0].size() <= mostLarge) {
		next := o.waiting[0]
		o.waiting[0] = nil
		o.waiting = o.waiting[1:]
		if !next.withdrawn {
			o.large += next.size()
			o.turns = append(o.turns, next)
		}
	}
}

// appendPart appends the next frame of the message.
func (m *outgoing) appendPart(b []byte) []byte {
	left := m.size() - m.offset
	size := min(left, partSize)
	b = appendHeader(b, m.kind, size == left, m.id, size)
	for size > 0 {
		source := m.body
		start := m.offset - len(m.head)
		if start < 0 {
			source, start = m.head, m.offset
		}
		n := min(size, len(source)-start)
		b = append(b, source[start:start+n]...)
		m.offset += n
		size -= n
	}
	m.sent = m.offset == m.size()
	return b
}
