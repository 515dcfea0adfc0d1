// What keeps an error in a room from taking the whole page with it.
import { Component, type ComponentChildren } from "preact";
import { Head, told } from "./ui";

export class Boundary extends Component<{ children: ComponentChildren }, { failed?: unknown }> {
  static getDerivedStateFromError(failed: unknown) {
    return { failed };
  }

  render() {
    if (this.state.failed === undefined) return <>{this.props.children}</>;
    return (
      <>
        <Head title="This cannot be shown" />
        <div class="note bad" role="alert">
          <p>An error of the page, not of your jobs: {told(this.state.failed)}. Try again, choose another room, or load the page anew.</p>
        </div>
        <button type="button" onClick={() => this.setState({ failed: undefined })}>Try again</button>
      </>
    );
  }
}
