"""How clients follow a render: by waiting for a change, by server-sent events, by a growing HLS playlist."""
